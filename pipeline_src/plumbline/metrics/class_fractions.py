"""The fraction of samples in each class, according to an independently trained classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.datasets._labels import class_labels
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import check_watched, class_probabilities
from plumbline.metrics._splits import values_of
from plumbline.models import Classifying

if TYPE_CHECKING:
    import xarray as xr


class ClassFractionsSpec(MetricSpec):
    """Fractions of the classes, and their total variation distance to those of the test split.

    Real data is counted by the same classifier; its row also has the classifier's accuracy.
    """

    kind: Literal["class_fractions"] = "class_fractions"
    of_every_draw: ClassVar[bool] = True
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    watched: tuple[int, ...] = ()
    """Classes whose fractions are shown in the table."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.model(self.classifier, Classifying)
        probabilities = class_probabilities(classifier, samples["state"].values, by)
        classes = probabilities.shape[1]
        check_watched(self.watched, classes, self.kind)
        test = values_of(dataset, "test")
        fractions, expected = _fractions(probabilities), _fractions(class_probabilities(classifier, test, by))
        distance = 0.5 * float(np.abs(fractions - expected).sum())
        found = {
            **{
                f"fraction_of_{c}": scalar(fractions[c], f"fraction of class {c}", "neither")
                for c in self.watched
            },
            "class_distance": scalar(distance, "total variation distance of class fractions", "lower"),
            "class_confidence": scalar(
                probabilities.max(1).mean(), "mean probability of the predicted class", "higher"
            ),
            "class_fraction": xr.DataArray(
                fractions, dims="class", attrs={"long_name": "fraction", "units": "1"}
            ),
        }
        if "split" in samples.coords:
            right = float((probabilities.argmax(1) == class_labels(samples, classes, self.kind)).mean())
            found["classifier_accuracy"] = scalar(right, "accuracy of the classifier", "higher")
        return xr.Dataset(found, coords={"class": np.arange(len(fractions))})

    def depends_on(self) -> dict[str, type]:
        return {self.classifier: Classifying}


def _fractions(probabilities: np.ndarray) -> np.ndarray:
    counts = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return counts / len(probabilities)

"""How often each class is generated, as an independently trained classifier tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.datasets._labels import class_labels
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import check_watched, class_probabilities

if TYPE_CHECKING:
    import xarray as xr


class ClassFractionsSpec(MetricSpec):
    """Shares of the classes among the samples, and their total variation distance to those of the test split.

    Real data is counted by the same classifier; its row also has the share of images that the classifier tells right.
    """

    kind: Literal["class_fractions"] = "class_fractions"
    of_every_draw: ClassVar[bool] = True
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    watched: tuple[int, ...] = ()
    """Classes whose shares stand in the table."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.models[self.classifier]
        told = class_probabilities(classifier, samples["state"].values)
        check_watched(self.watched, told.shape[1], self.kind)
        test = dataset["state"].values[dataset["split"].values == "test"]
        fractions, expected = _fractions(told), _fractions(class_probabilities(classifier, test))
        distance = 0.5 * float(np.abs(fractions - expected).sum())
        found = {
            **{
                f"fraction_of_{c}": scalar(fractions[c], f"fraction of class {c}", "neither")
                for c in self.watched
            },
            "class_distance": scalar(distance, "total variation distance of class shares", "lower"),
            "class_confidence": scalar(told.max(1).mean(), "mean probability of the class", "higher"),
            "class_fraction": xr.DataArray(
                fractions, dims="class", attrs={"long_name": "share", "units": "1"}
            ),
        }
        if "split" in samples.coords:
            right = float((told.argmax(1) == class_labels(samples, told.shape[1], self.kind)).mean())
            found["classifier_accuracy"] = scalar(right, "accuracy of the classifier", "higher")
        return xr.Dataset(found, coords={"class": np.arange(len(fractions))})

    def depends_on(self) -> dict[str, str]:
        return {self.classifier: "classes"}


def _fractions(probabilities: np.ndarray) -> np.ndarray:
    counts = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return counts / len(probabilities)

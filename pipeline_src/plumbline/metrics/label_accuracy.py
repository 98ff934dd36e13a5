"""Whether samples are of the requested class, and whether that comes at the cost of diversity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._labels import class_labels
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import class_probabilities
from plumbline.metrics._collapse import beside_real_data
from plumbline.models import Classifying
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class LabelAccuracySpec(MetricSpec):
    """Fraction of samples that a classifier assigns to the requested class, compared with the test split."""

    kind: Literal["label_accuracy"] = "label_accuracy"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    neighbours: int = key(ge=1, default=5)
    """Number of nearest neighbours for recall."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        from plumbline.models._labels import WANTED

        classifier = by.model(self.classifier, Classifying)
        of_test = dataset["split"].values == "test"
        test = dataset.isel(sample=of_test)
        # Samplers store requested classes in single precision.
        requested = {"label": samples[WANTED].astype(np.int64)} if WANTED in samples else samples
        accuracy = self._accuracy(classifier, samples["state"].values, requested, by)
        real = self._accuracy(classifier, test["state"].values, test, by)
        found = {
            "label_accuracy": scalar(accuracy, "fraction of samples of the requested class", "higher"),
            "label_accuracy_over_real": scalar(
                accuracy - real, "accuracy minus that of the test split", "neither"
            ),
        }
        return xr.Dataset(found | beside_real_data(accuracy, real, samples, dataset, self.neighbours))

    def depends_on(self) -> dict[str, type]:
        return {self.classifier: Classifying}

    @staticmethod
    def _accuracy(
        classifier: Classifying,
        states: np.ndarray,
        labelled: Mapping[str, xr.DataArray] | xr.Dataset,
        by: EvaluationContext,
    ) -> float:
        probabilities = class_probabilities(classifier, states, by)
        labels = class_labels(labelled, probabilities.shape[1], "label_accuracy")
        return float((probabilities.argmax(1) == labels).mean())

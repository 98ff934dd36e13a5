"""Whether samples are of the class that was asked for, and whether that was bought with diversity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from plumbline.datasets._labels import class_labels
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import class_probabilities
from plumbline.metrics._collapse import beside_real_data
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class LabelAccuracySpec(MetricSpec):
    """Share of the samples that a trained classifier tells as the class wanted, beside that of the test split."""

    kind: Literal["label_accuracy"] = "label_accuracy"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    neighbours: int = key(ge=1, default=5)
    """k of the nearest neighbours that recall is told by."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        from plumbline.models._labels import WANTED

        classifier = by.models[self.classifier]
        of_test = dataset["split"].values == "test"
        test = dataset.isel(sample=of_test)
        # Samplers store all that they tell in single precision.
        asked = {"label": samples[WANTED].astype(np.int64)} if WANTED in samples else samples
        accuracy = self._fraction_right(classifier, samples["state"].values, asked)
        real = self._fraction_right(classifier, test["state"].values, test)
        found = {
            "label_accuracy": scalar(accuracy, "samples of the class wanted", "higher"),
            "label_accuracy_over_real": scalar(
                accuracy - real, "accuracy over that of the test split", "neither"
            ),
        }
        return xr.Dataset(found | beside_real_data(accuracy, real, samples, dataset, self.neighbours))

    def depends_on(self) -> dict[str, str]:
        return {self.classifier: "classes"}

    @staticmethod
    def _fraction_right(classifier: object, states: np.ndarray, labelled: Mapping[Any, Any]) -> float:
        told = class_probabilities(classifier, states)
        return float((told.argmax(1) == class_labels(labelled, told.shape[1], "label_accuracy")).mean())

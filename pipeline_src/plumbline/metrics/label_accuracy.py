"""Whether samples are of the class that was asked for, and whether that was bought with diversity.

A model that draws few images that the classifier cannot doubt has a higher accuracy than real data: with a recall of less than half
of that of real data this is collapse, and marked as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import Instruments, MetricSpec, scalar, standardised
from plumbline.metrics.classification import class_probabilities
from plumbline.metrics.precision_recall import share_on_manifold
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

# Share of the recall of real data below which an accuracy above that of real data is collapse.
LEAST_SHARE = 0.5


class LabelAccuracySpec(MetricSpec):
    """Share of the samples that a trained classifier tells as the class wanted, beside that of the test split."""

    kind: Literal["label_accuracy"] = "label_accuracy"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    neighbours: int = key(ge=1, default=5)
    """k of the nearest neighbours that recall is told by."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: Instruments) -> xr.Dataset:
        import xarray as xr

        from plumbline.models.latent.labels import WANTED

        classifier = by.models[self.classifier]
        of_test = dataset["split"].values == "test"
        wanted = samples[WANTED if WANTED in samples else "label"].values
        accuracy = self._share_right(classifier, samples["state"].values, wanted)
        real = self._share_right(
            classifier, dataset["state"].values[of_test], dataset["label"].values[of_test]
        )
        drawn, test = standardised(samples, dataset, "test")
        _, held = standardised(samples, dataset, "validation")
        recall, possible = (share_on_manifold(test, points, self.neighbours) for points in (drawn, held))
        collapsed = accuracy > real and recall < LEAST_SHARE * possible
        return xr.Dataset(
            {
                "label_accuracy": scalar(accuracy, "samples of the class wanted", "higher"),
                "label_accuracy_over_real": scalar(
                    accuracy - real, "accuracy over that of the test split", "neither"
                ),
                "recall_over_real": scalar(recall / possible, "recall over that of real data", "higher"),
                "collapsed": scalar(collapsed, "collapse", "neither"),
            }
        )

    def stands_on(self) -> dict[str, str]:
        return {self.classifier: "classes"}

    @staticmethod
    def _share_right(classifier: object, states: np.ndarray, labels: np.ndarray) -> float:
        return float((class_probabilities(classifier, states).argmax(1) == labels).mean())

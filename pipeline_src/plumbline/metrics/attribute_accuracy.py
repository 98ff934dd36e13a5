r"""Whether samples have the attributes that were asked for, as a trained classifier tells.

Of an attribute that few have, such as a bald head, a model that never draws it is right most of the time: the accuracy of an
attribute is the mean of that among the samples that are to have it and among those that are not. F1 is
2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall of the attribute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._labels import listed_attributes
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import attribute_logits
from plumbline.metrics._collapse import beside_real_data
from plumbline.metrics._wanted import wanted_attributes
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class AttributeAccuracySpec(MetricSpec):
    """Balanced accuracy and F1 of the attributes that the dataset lists, beside those of the test split."""

    kind: Literal["attribute_accuracy"] = "attribute_accuracy"
    classifier: str
    """Name of the classifier of attributes, one of the study's `models`."""
    neighbours: int = key(ge=1, default=5)
    """k of the nearest neighbours that recall is told by."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.models[self.classifier]
        listed_attributes(dataset, "attribute_accuracy")
        names = [str(name) for name in dataset["attribute"].values]
        of_test = dataset["split"].values == "test"
        has = attribute_logits(classifier, samples["state"].values) > 0
        wanted = wanted_attributes(samples, names)
        if wanted is None:  # those of the images that they were drawn for
            wanted = listed_attributes(samples, "attribute_accuracy") > 0
        real_has = attribute_logits(classifier, dataset["state"].values[of_test]) > 0
        real_wanted = listed_attributes(dataset.isel(sample=of_test), "attribute_accuracy") > 0
        each, of_real = balanced_accuracy(has, wanted), balanced_accuracy(real_has, real_wanted)
        accuracy, real = float(each.mean()), float(of_real.mean())
        found = {
            f"has_{name}": scalar(value, f"balanced accuracy of {name}", "higher")
            for name, value in zip(names, each, strict=True)
        }
        found["attribute_accuracy"] = scalar(accuracy, "balanced accuracy of attributes, mean", "higher")
        found["attribute_f1"] = scalar(f1(has, wanted).mean(), "F1 of attributes, mean", "higher")
        found["attribute_accuracy_over_real"] = scalar(
            accuracy - real, "balanced accuracy over that of the test split", "neither"
        )
        return xr.Dataset(found | beside_real_data(accuracy, real, samples, dataset, self.neighbours))

    def depends_on(self) -> dict[str, str]:
        return {self.classifier: "attributes"}


def balanced_accuracy(has: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Mean of the accuracies among those that are to have each attribute and those that are not: (N, C) to (C,).

    Where all are to have it, or none, the accuracy.
    """
    right = has == wanted
    groups = (wanted, ~wanted)
    sizes = np.stack([group.sum(0) for group in groups])
    hits = np.stack([(right & group).sum(0) for group in groups])
    return (hits / np.maximum(sizes, 1)).sum(0) / (sizes > 0).sum(0)


def f1(has: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of each attribute: (N, C) to (C,); one where no sample has it or is to."""
    hits, misses = (has & wanted).sum(0), (has != wanted).sum(0)
    return np.where(hits + misses > 0, 2 * hits / np.maximum(2 * hits + misses, 1), 1.0)

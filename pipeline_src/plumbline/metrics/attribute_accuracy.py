r"""Whether samples have the requested attributes, according to a trained classifier.

A model that never generates a rare attribute, such as a bald head, is right most of the time. The accuracy of
an attribute is therefore balanced (Brodersen et al. 2010, https://doi.org/10.1109/ICPR.2010.764): the mean of
the accuracy among samples requested with the attribute and of the accuracy among those requested without it.
F1 is 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall of the attribute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._labels import listed_attributes
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import attribute_logits
from plumbline.metrics._collapse import beside_real_data
from plumbline.metrics._requested import requested_attributes
from plumbline.metrics._splits import values_of
from plumbline.models import AttributePredicting
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class AttributeAccuracySpec(MetricSpec):
    """Balanced accuracy and F1 of the dataset's listed attributes, compared with the test split."""

    kind: Literal["attribute_accuracy"] = "attribute_accuracy"
    classifier: str
    """Name of the attribute classifier, one of the study's `models`."""
    neighbours: int = key(ge=1, default=5)
    """Number of nearest neighbours for recall."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.model(self.classifier, AttributePredicting)
        listed_attributes(dataset, "attribute_accuracy")
        names = [str(name) for name in dataset["attribute"].values]
        of_test = dataset["split"].values == "test"
        has = attribute_logits(classifier, samples["state"].values, by) > 0
        requested = requested_attributes(samples, names)
        if requested is None:  # the attributes of the test images that the samples were drawn for
            requested = listed_attributes(samples, "attribute_accuracy") > 0
        real_has = attribute_logits(classifier, values_of(dataset, "test"), by) > 0
        real_labels = listed_attributes(dataset.isel(sample=of_test), "attribute_accuracy") > 0
        each, of_real = balanced_accuracy(has, requested), balanced_accuracy(real_has, real_labels)
        accuracy, real = float(each.mean()), float(of_real.mean())
        found = {
            f"has_{name}": scalar(value, f"balanced accuracy of {name}", "higher")
            for name, value in zip(names, each, strict=True)
        }
        found["attribute_accuracy"] = scalar(accuracy, "mean balanced accuracy of attributes", "higher")
        found["attribute_f1"] = scalar(f1(has, requested).mean(), "mean F1 of attributes", "higher")
        found["attribute_accuracy_over_real"] = scalar(
            accuracy - real, "balanced accuracy minus that of the test split", "neither"
        )
        return xr.Dataset(found | beside_real_data(accuracy, real, samples, dataset, self.neighbours))

    def depends_on(self) -> dict[str, type]:
        return {self.classifier: AttributePredicting}


def balanced_accuracy(has: np.ndarray, requested: np.ndarray) -> np.ndarray:
    """The balanced accuracy (C,) of each attribute; the accuracy if requested of all samples, or of none.

    Args:
        has: whether each sample has each attribute (N, C), as predicted.
        requested: whether each attribute was requested of each sample (N, C).
    """
    right = has == requested
    groups = (requested, ~requested)
    sizes = np.stack([group.sum(0) for group in groups])
    hits = np.stack([(right & group).sum(0) for group in groups])
    return (hits / np.maximum(sizes, 1)).sum(0) / (sizes > 0).sum(0)


def f1(has: np.ndarray, requested: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN) of each attribute (C,); one if no sample has it and none should.

    Args:
        has: whether each sample has each attribute (N, C), as predicted.
        requested: whether each attribute was requested of each sample (N, C).
    """
    hits, misses = (has & requested).sum(0), (has != requested).sum(0)
    return np.where(hits + misses > 0, 2 * hits / np.maximum(2 * hits + misses, 1), 1.0)

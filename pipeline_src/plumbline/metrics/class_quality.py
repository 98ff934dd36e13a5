r"""How good the samples of each class are, whatever its share.

Samples that a trained classifier tells as a class are compared with the test images of that class by the kernel distance
(Binkowski et al., ICLR 2018): the squared maximum mean discrepancy of the classifier's features with the kernel

    k(a, b) = (a . b / F + 1)^3,

estimated without bias, so that classes of few and of many samples can be compared; it may come out below zero. Features are in
units of their root mean square over the test split: a classifier's have no scale of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._labels import class_labels
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import check_watched, class_features, class_probabilities

if TYPE_CHECKING:
    import xarray as xr

# Samples that a class needs for an estimate.
FEWEST = 5


class ClassQualitySpec(MetricSpec):
    """Kernel distance of each class to its test images, in the features of a trained classifier."""

    kind: Literal["class_quality"] = "class_quality"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    watched: tuple[int, ...] = ()
    """Classes whose distances stand in the table; one with fewer than five samples or test images has none."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.models[self.classifier]
        states = samples["state"].values
        probabilities = class_probabilities(classifier, states)
        told, classes = probabilities.argmax(1), probabilities.shape[1]
        check_watched(self.watched, classes, self.kind)
        features = class_features(classifier, states)
        of_test = dataset["split"].values == "test"
        labels = class_labels(dataset.isel(sample=of_test), classes, self.kind)
        reference = class_features(classifier, dataset["state"].values[of_test])
        unit = np.sqrt(np.mean(reference**2))
        distances = {
            int(c): _distance(features[told == c] / unit, reference[labels == c] / unit)
            for c in np.unique(labels)
        }
        found = {
            f"quality_of_{c}": scalar(distances.get(c, np.nan), f"kernel distance of class {c}", "lower")
            for c in self.watched
        }
        mean = float(np.mean(list(distances.values())))
        found["class_quality"] = scalar(mean, "mean kernel distance of classes", "lower")
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, str]:
        return {self.classifier: "classes"}


def _distance(drawn: np.ndarray, real: np.ndarray) -> float:
    return kernel_distance(drawn, real) if min(len(drawn), len(real)) >= FEWEST else float("nan")


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased estimate of MMD^2 of features (N, F) and (M, F) under the cubic kernel."""
    size = first.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / size + 1) ** 3

    def within(a: np.ndarray) -> float:
        k = kernel(a, a)
        return float((k.sum() - np.trace(k)) / (len(a) * (len(a) - 1)))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())

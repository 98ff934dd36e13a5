r"""Quality of the samples of each class, independently of how many there are.

The samples that a trained classifier assigns to a class are compared with the test images of that class by
the kernel distance (Binkowski et al., ICLR 2018, https://arxiv.org/abs/1801.01401): the squared maximum mean
discrepancy of the classifier's F features with the kernel

    k(a, b) = (a . b / F + 1)^3.

The estimate is unbiased, so that small and large classes can be compared; it can be negative. Features are
divided by their root mean square over the test split, since a classifier's features have no scale of their
own. The KID of the paper uses the features of the Inception network, this metric those of a classifier of
the study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._labels import class_labels
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._classification import check_watched, class_features, class_probabilities
from plumbline.metrics._splits import values_of
from plumbline.models import Classifying, FeatureExtracting

if TYPE_CHECKING:
    import xarray as xr

# Smallest number of samples of a class for an estimate.
FEWEST = 5


class ClassQualitySpec(MetricSpec):
    """Kernel distance of each class's samples to its test images, in a trained classifier's features."""

    kind: Literal["class_quality"] = "class_quality"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    watched: tuple[int, ...] = ()
    """Classes whose distances are shown in the table; a class needs five samples and five test images."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        classifier = by.model(self.classifier, Classifying)
        extractor = by.model(self.classifier, FeatureExtracting)
        states = samples["state"].values
        probabilities = class_probabilities(classifier, states, by)
        predicted, classes = probabilities.argmax(1), probabilities.shape[1]
        check_watched(self.watched, classes, self.kind)
        features = class_features(extractor, states, by)
        of_test = dataset["split"].values == "test"
        labels = class_labels(dataset.isel(sample=of_test), classes, self.kind)
        reference = class_features(extractor, values_of(dataset, "test"), by)
        unit = np.sqrt(np.mean(reference**2))
        distances = {
            int(c): _distance(features[predicted == c] / unit, reference[labels == c] / unit)
            for c in np.unique(labels)
        }
        found = {
            f"quality_of_{c}": scalar(distances.get(c, np.nan), f"kernel distance of class {c}", "lower")
            for c in self.watched
        }
        mean = float(np.mean(list(distances.values())))
        found["class_quality"] = scalar(mean, "mean kernel distance of classes", "lower")
        return xr.Dataset(found)

    def depends_on(self) -> dict[str, type]:
        return {self.classifier: Classifying}


def _distance(drawn: np.ndarray, real: np.ndarray) -> float:
    return kernel_distance(drawn, real) if min(len(drawn), len(real)) >= FEWEST else float("nan")


def kernel_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased estimate of MMD^2 between features (N, F) and (M, F) under the cubic kernel."""
    size = first.shape[1]

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / size + 1) ** 3

    def within(a: np.ndarray) -> float:
        k = kernel(a, a)
        return float((k.sum() - np.trace(k)) / (len(a) * (len(a) - 1)))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())

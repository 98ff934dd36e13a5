r"""The classifier two-sample test (Lopez-Paz and Oquab, ICLR 2017, https://arxiv.org/abs/1610.06545).

A classifier learns to tell samples from test samples on half of both sets. Its accuracy on the other half
is one half if the distributions are equal, and one if they do not overlap. The classifiers are the
published ones: a network with one layer of 20 rectified units, trained for 100 epochs, and the k nearest
neighbours, k being the root of the number of training samples. Coordinates have the mean zero and the
standard deviation one in the training half, so that differences much smaller than the data count if they
are systematic.

The accuracy has a standard deviation of 1 / (2 sqrt(N)) for N samples of each set, of which N are held out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, standardised
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

HIDDEN, EPOCHS = 20, 100


class C2STSpec(MetricSpec):
    """Accuracy of a classifier that tells samples from test samples: one half if it cannot."""

    kind: Literal["c2st"] = "c2st"
    resampled: ClassVar[bool] = False
    classifier: Literal["network", "neighbours"] = "network"
    """`network`: one hidden layer of 20 units; `neighbours`: k nearest neighbours."""
    splits: int = key(ge=1, default=4)
    """Number of random divisions into halves, over which the accuracy is averaged."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        drawn, reference = standardised(samples, dataset, "test")
        accuracies = [
            held_out_accuracy(drawn, reference, self.classifier, seed) for seed in range(self.splits)
        ]
        title = "accuracy of a classifier of samples and test samples (C2ST)"
        return xr.Dataset({"c2st": scalar(np.mean(accuracies), title, "lower")})


def held_out_accuracy(
    x: np.ndarray, y: np.ndarray, classifier: Literal["network", "neighbours"], seed: int
) -> float:
    """The accuracy on half of two sets (N, n) of equal size, of a classifier trained on the other half."""
    generator = np.random.default_rng([20261129, seed])
    orders = [generator.permutation(len(x)) for _ in range(2)]
    half = (len(x) + 1) // 2
    first, second = (
        np.concatenate([points[order[part]] for points, order in zip((x, y), orders, strict=True)])
        for part in (slice(None, half), slice(half, None))
    )
    mean, std = first.mean(0), first.std(0)
    std = np.where(std > 0, std, 1.0)
    labels, expected = np.repeat([0, 1], half), np.repeat([0, 1], len(x) - half)
    found = _predictions((first - mean) / std, labels, (second - mean) / std, classifier, seed)
    return float((found == expected).mean())


def _predictions(
    known: np.ndarray,
    labels: np.ndarray,
    points: np.ndarray,
    classifier: Literal["network", "neighbours"],
    seed: int,
) -> np.ndarray:
    if classifier == "neighbours":
        from sklearn.neighbors import KNeighborsClassifier

        fitted = KNeighborsClassifier(int(np.sqrt(len(known)))).fit(known, labels)
    else:
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        network = MLPClassifier((HIDDEN,), max_iter=EPOCHS, random_state=seed, shuffle=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the published one
            fitted = network.fit(known, labels)
    found: np.ndarray = fitted.predict(points)
    return found

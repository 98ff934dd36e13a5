r"""The sliced Wasserstein distance to the test split.

It is the square root of the mean, over random directions, of the squared 2-Wasserstein distance between the
projections of both sets onto the direction (Rabin et al. 2012, https://doi.org/10.1007/978-3-642-24785-9_37;
Bonneel et al. 2015, https://doi.org/10.1007/s10851-014-0506-3). Between two sets of equal size on a line, the
optimal transport pairs the values in their order. The directions are those of POT with seed 0, and a test
compares both: POT takes as long to import as torch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, standardised
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class SlicedWassersteinSpec(MetricSpec):
    """Sliced 2-Wasserstein distance between the standardised samples and the test split."""

    kind: Literal["sliced_wasserstein"] = "sliced_wasserstein"
    directions: int = key(ge=1, default=256)
    """Number of random directions, the same ones for every method."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        drawn, reference = standardised(samples, dataset, "test")
        distance = sliced_wasserstein(drawn, reference, self.directions)
        unit = "standard deviations"
        return xr.Dataset(
            {"sliced_wasserstein": scalar(distance, "sliced Wasserstein distance", "lower", unit)}
        )


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, directions: int) -> float:
    """The sliced 2-Wasserstein distance of two sets (N, n) of equal size."""
    projections = random_directions(x.shape[1], directions)
    difference = np.sort(x @ projections, axis=0) - np.sort(y @ projections, axis=0)
    return float(np.sqrt(np.mean(difference**2)))


@lru_cache(maxsize=1)
def random_directions(dimension: int, count: int) -> np.ndarray:
    """Unit vectors (dimension, count), uniform on the sphere; the same ones in every call."""
    found = np.random.RandomState(0).randn(dimension, count)
    return found / np.sqrt(np.sum(found**2, axis=0, keepdims=True))

r"""The energy distance to the test split.

For samples x and test samples y (Szekely and Rizzo 2013, https://doi.org/10.1016/j.jspi.2013.03.018),

    D^2 = 2 E|x - y| - E|x - x'| - E|y - y'|,

which is zero only if both distributions are equal. The means are over different samples, so that the
estimate is unbiased: for samples of the exact distribution it is zero on average, and negative half of the
time. It has no parameters, and the square, unlike its root, keeps the sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, PairwiseSpec, scalar

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.metrics._pairs import Distances, Pairs


class EnergyDistanceSpec(PairwiseSpec):
    """Squared energy distance of the standardised samples to the test split, unbiased."""

    kind: Literal["energy_distance"] = "energy_distance"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        value = self.values(self.pairs(samples, dataset, by))["energy_distance"]
        unit = "standard deviations"
        return xr.Dataset({"energy_distance": scalar(value, "squared energy distance", "lower", unit)})

    def values(self, pairs: Pairs) -> dict[str, float]:
        within = _mean_apart(pairs.drawn) + _mean_apart(pairs.reference)
        return {"energy_distance": 2 * pairs.between.mean(_distance) - within}


def _distance(distances: np.ndarray) -> np.ndarray:
    return distances


def _mean_apart(within: Distances) -> float:
    """The mean distance of two different samples, from all distances of a set to itself."""
    count = len(within.rows)
    return within.mean(_distance) * count / (count - 1)

r"""Maximum mean discrepancy to the test split.

After Gretton et al. (2012, https://jmlr.org/papers/v13/gretton12a.html),

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),

for samples x and test samples y, where k is the mean of Gaussian kernels whose bandwidths are multiples of
the median distance within the test split. The estimate is the biased one, which is never negative; the
metric's floor shows the bias.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, PairwiseSpec, scalar

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.metrics._pairs import Distances, Pairs

# Bandwidths, in multiples of the median distance.
BANDWIDTHS = (0.5, 1.0, 2.0)


class MMDSpec(PairwiseSpec):
    """Maximum mean discrepancy of the standardised samples to the test split."""

    kind: Literal["mmd"] = "mmd"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        value = self.values(self.pairs(samples, dataset, by))["mmd"]
        return xr.Dataset({"mmd": scalar(value, "maximum mean discrepancy", "lower")})

    def values(self, pairs: Pairs) -> dict[str, float]:
        return {"mmd": maximum_mean_discrepancy(pairs)}


def maximum_mean_discrepancy(pairs: Pairs) -> float:
    """The MMD from the distances between samples and test samples; the latter give the bandwidths."""
    # If most points coincide, their median distance is zero; one standard deviation of the data takes its
    # place.
    median = pairs.reference.median_apart() or 1.0

    def kernel(distances: Distances) -> float:
        return float(np.mean([distances.mean(partial(gaussian, width=c * median)) for c in BANDWIDTHS]))

    def gaussian(distances: np.ndarray, width: float) -> np.ndarray:
        values: np.ndarray = np.exp(-(distances**2) / (2 * width**2))
        return values

    total = kernel(pairs.drawn) + kernel(pairs.reference) - 2 * kernel(pairs.between)
    return float(np.sqrt(max(total, 0.0)))

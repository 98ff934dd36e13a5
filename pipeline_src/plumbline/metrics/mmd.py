r"""Maximum mean discrepancy to the test split (Gretton et al. 2012).

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),

with a sum of Gaussian kernels whose bandwidths are multiples of the median distance within the test split. The
biased estimate is used, which is never negative; its floor shows its bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, PairwiseSpec, scalar

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.metrics._pairs import Pairs

BANDWIDTHS = (0.5, 1.0, 2.0)


class MMDSpec(PairwiseSpec):
    """Maximum mean discrepancy of the standardised samples to the test split."""

    kind: Literal["mmd"] = "mmd"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        value = self.numbers(self.pairs(samples, dataset, by))["mmd"]
        return xr.Dataset({"mmd": scalar(value, "maximum mean discrepancy", "lower")})

    def numbers(self, pairs: Pairs) -> dict[str, float]:
        return {"mmd": maximum_mean_discrepancy(pairs)}


def maximum_mean_discrepancy(pairs: Pairs) -> float:
    """MMD from the distances of samples and test samples, bandwidths from the latter."""
    apart = pairs.reference[np.triu_indices(len(pairs.reference), 1)]
    # Where most points coincide, a standard deviation of the standardised data takes the place of their median distance.
    median = np.median(apart) or 1.0

    def kernel(distances: np.ndarray) -> float:
        squared = distances**2
        return float(np.mean([np.exp(-squared / (2 * (c * median) ** 2)).mean() for c in BANDWIDTHS]))

    total = kernel(pairs.drawn) + kernel(pairs.reference) - 2 * kernel(pairs.between)
    return float(np.sqrt(max(total, 0.0)))

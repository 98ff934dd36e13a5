r"""Maximum mean discrepancy to the test split (Gretton et al. 2012).

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),

with a sum of Gaussian kernels whose bandwidths are multiples of the median distance within the test split. The
biased estimate is used, which is never negative; its floor shows its bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import Instruments, MetricSpec, scalar, standardised

if TYPE_CHECKING:
    import xarray as xr

BANDWIDTHS = (0.5, 1.0, 2.0)


class MMDSpec(MetricSpec):
    """Maximum mean discrepancy of the standardised samples to the test split."""

    kind: Literal["mmd"] = "mmd"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: Instruments) -> xr.Dataset:
        import xarray as xr

        del by
        drawn, reference = standardised(samples, dataset, "test")
        value = maximum_mean_discrepancy(drawn, reference)
        return xr.Dataset({"mmd": scalar(value, "maximum mean discrepancy", "lower")})


def maximum_mean_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """MMD of samples x (n, d) and y (m, d), bandwidths from y."""
    from scipy.spatial.distance import cdist, pdist

    # Where most points coincide, a standard deviation of the standardised data takes the place of their median distance.
    median = np.median(pdist(y)) or 1.0

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        squared = cdist(a, b, "sqeuclidean")
        return float(np.mean([np.exp(-squared / (2 * (c * median) ** 2)).mean() for c in BANDWIDTHS]))

    return float(np.sqrt(max(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y), 0.0)))

r"""Distance to the exact distribution of a Gaussian given A x = k.

The 2-Wasserstein distance between two Gaussians, one with the mean m and covariance S of the samples and one
with the exact moments m0 and S0 (Dowson and Landau 1982, https://doi.org/10.1016/0047-259X(82)90077-X):

    W^2 = |m - m0|^2 + tr(S + S0 - 2 (S0^{1/2} S S0^{1/2})^{1/2}).

Where the exact distribution is no Gaussian but its moments are known, this is a lower bound of the
2-Wasserstein distance between the distributions (Gelbrich 1990, https://doi.org/10.1002/mana.19901470121):
it sees errors of the first two moments only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr


class ConditionalGaussianSpec(MetricSpec):
    """Gaussian 2-Wasserstein distance to the exact distribution, for datasets that store its moments."""

    kind: Literal["conditional_gaussian"] = "conditional_gaussian"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """The distance to the exact distribution.

        Raises:
            ValueError: the dataset does not store its exact conditional moments.
        """
        import xarray as xr

        if "conditional_mean" not in dataset or "conditional_covariance" not in dataset:
            raise ValueError(
                f"`{self.kind}`: the dataset has no `conditional_mean`. Use this metric with a dataset "
                "that stores the moments of its exact constrained distribution, such as `gaussian`."
            )
        state = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
        size = state.shape[1]
        distance = gaussian_wasserstein(
            state.mean(0),
            np.cov(state.T),
            dataset["conditional_mean"].values.reshape(size),
            dataset["conditional_covariance"].values.reshape(size, size),
        )
        return xr.Dataset(
            {"conditional_gaussian": scalar(distance, "distance to the exact distribution", "lower")}
        )


def gaussian_wasserstein(m: np.ndarray, s: np.ndarray, m0: np.ndarray, s0: np.ndarray) -> float:
    """The 2-Wasserstein distance between N(m, s) and N(m0, s0), with means (n,) and covariances (n, n)."""
    values, vectors = np.linalg.eigh(s0)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ s @ root), 0, None)).sum()
    squared = np.sum((m - m0) ** 2) + np.trace(s) + np.trace(s0) - 2 * cross
    return float(np.sqrt(max(squared, 0.0)))

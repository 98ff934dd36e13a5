r"""Variances along and across the feasible set, relative to the exact ones.

Let S0 be the exact covariance of the test samples, and P the projection onto the directions in which it is
not zero: those along a feasible set that is flat, such as the one of A x = k. With the covariance S of the
samples and C of the training samples,

    along  = tr(P S) / tr(P S0),        across = tr((I - P) S) / tr((I - P) C).

Along the set the exact value is one; less is a collapse and more an excess of spread. Across it the exact
value is zero, and one without any constraint. Where all directions have variance, as on a curved set, there
is no value across. S0 is stored by the dataset (`conditional_covariance`), or is the covariance of the
whole test split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, split_values
from plumbline.metrics._splits import training_blocks

if TYPE_CHECKING:
    import xarray as xr

NO_VARIANCE = 1e-9
"""Largest variance in a direction across the feasible set, relative to the largest
variance; samples in single precision have less."""


class VarianceRatioSpec(MetricSpec):
    """Ratio of the variances of samples and exact distribution along the feasible set, and what is left
    across it."""

    kind: Literal["variance_ratio"] = "variance_ratio"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        state = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
        exact, directions, across = _along_and_across(dataset)
        found = _variances(state, directions)
        ratio = float(found[~across].sum() / exact[~across].sum())
        values = {
            "variance_along": scalar(ratio, "variance along the feasible set over the exact one", "neither"),
            "variance_along_error": scalar(
                abs(np.log(max(ratio, np.finfo(float).tiny))),
                "error of the variance along the feasible set, |log ratio|",
                "lower",
            ),
        }
        if across.any():
            left = found[across].sum() / _training_variances(dataset, directions[:, across]).sum()
            values["variance_across"] = scalar(
                left, "variance across the feasible set over the unconstrained one", "lower"
            )
        return xr.Dataset(values)


def _along_and_across(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (n,) and eigenvectors (n, n) of the exact covariance, and which of them are zero (n,)."""
    if "conditional_covariance" in dataset:
        size = dataset["state"][0].size
        covariance = dataset["conditional_covariance"].values.reshape(size, size)
    else:
        covariance = np.atleast_2d(np.cov(split_values(dataset, "test").T))
    variances, directions = np.linalg.eigh(covariance)
    return variances, directions, variances <= NO_VARIANCE * variances.max()


def _variances(state: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """The variances (r,) of samples (N, n) along directions (n, r)."""
    found: np.ndarray = ((state - state.mean(0)) @ directions).var(0, ddof=1)
    return found


def _training_variances(dataset: xr.Dataset, directions: np.ndarray) -> np.ndarray:
    """The variances (r,) of the training samples along directions (n, r)."""
    projected = np.concatenate([block @ directions for block in training_blocks(dataset)])
    found: np.ndarray = projected.var(0, ddof=1)
    return found

r"""Fractions of the branches of the feasible distribution: which mode, sign or solution a sample belongs to.

A sampler may draw each branch well and still draw them in wrong proportions, which few distances show for a
rare branch. The dataset says what its branches are, and stores their exact probabilities `branch_fractions`
(branch):

- by planes, if it stores `branch_normals` (plane, *S) and `branch_offsets` (plane). The branch of a sample
  is the number whose binary digits say on which side of each plane it lies, the first plane counting most;
- otherwise by the components of its mixture of Gaussians. A sample belongs to component k with the
  probability p(k | x) proportional to w_k N(x; m_k, C_k), and its mean over the exact distribution is the
  exact fraction.

The metric is the total variation distance, half the sum of the absolute differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr


class BranchFractionsSpec(MetricSpec):
    """Total variation distance of the branches' fractions to the exact ones, for datasets with branches."""

    kind: Literal["branch_fractions"] = "branch_fractions"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """The distance, and the fractions.

        Raises:
            ValueError: the dataset does not store the probabilities of its branches.
        """
        import xarray as xr

        if "branch_fractions" not in dataset:
            raise ValueError(
                f"`{self.kind}`: the dataset has no `branch_fractions`. Use this metric with a dataset that "
                "stores them, such as `gaussian_mixture`."
            )
        expected = dataset["branch_fractions"].values
        fractions = branches_of(samples, dataset).mean(0)
        distance = 0.5 * np.abs(fractions - expected).sum()
        attrs = {"long_name": "fraction of the branch", "units": "1"}
        return xr.Dataset(
            {
                "branch_distance": scalar(distance, "total variation distance of the branches", "lower"),
                "branch_fraction": xr.DataArray(fractions, dims="branch", attrs=attrs),
            }
        )


def branches_of(samples: xr.Dataset, dataset: xr.Dataset) -> np.ndarray:
    """The probability (samples, branches) that each sample belongs to each branch."""
    state = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
    if "branch_normals" in dataset:
        offsets = dataset["branch_offsets"].values
        side = state @ dataset["branch_normals"].values.reshape(len(offsets), -1).T > offsets
        branch = side @ 2 ** np.arange(len(offsets))[::-1]
        return np.eye(dataset.sizes["branch"])[branch]
    return _responsibilities(state, dataset)


def _responsibilities(state: np.ndarray, dataset: xr.Dataset) -> np.ndarray:
    import torch

    from plumbline.models.fitted._exact_mixture import responsibilities, stored_mixture

    return responsibilities(torch.from_numpy(state), stored_mixture(dataset)).numpy()

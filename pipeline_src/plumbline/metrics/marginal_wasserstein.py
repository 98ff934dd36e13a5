"""Wasserstein distance between samples and test split, for each column of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, standardised

if TYPE_CHECKING:
    import xarray as xr


class MarginalWassersteinSpec(MetricSpec):
    """1-Wasserstein distance of each column, in standard deviations, and the mean over columns."""

    kind: Literal["marginal_wasserstein"] = "marginal_wasserstein"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        drawn, reference = standardised(samples, dataset, "test")
        # For sets of the same size, the distance is the mean difference of the order statistics.
        each = np.abs(np.sort(drawn, 0) - np.sort(reference, 0)).mean(0)
        dim = dataset["state"].dims[1]
        attrs = {"long_name": f"Wasserstein distance of each {dim}", "units": "standard deviations"}
        name = f"mean Wasserstein distance per {dim}"
        return xr.Dataset(
            {
                "marginal_wasserstein": scalar(each.mean(), name, "lower", "standard deviations"),
                "marginal_wasserstein_by": (dim, each, attrs),
            },
            coords={dim: dataset[dim]},
        )

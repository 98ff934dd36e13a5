r"""Quality of ensembles of posterior samples, given observations of the true state.

The K samples x^k of a case are conditioned on the same observation y. The metric computes, over all cases:

- misfit: chi-square of the samples, the mean of ((y - A x) / noise)^2, whose expectation is one for the true
  state;
- error: root mean square error of the ensemble mean, and of single samples;
- spread: root mean square deviation of the samples from the ensemble mean;
- CRPS: E|x - truth| - E|x - x'| / 2, averaged over entries of the state and cases (Gneiting and Raftery 2007,
  https://doi.org/10.1198/016214506000001437), with the fair estimate of the second term (Ferro 2014,
  https://doi.org/10.1002/qj.2270);
- rank histogram: for each r, the fraction of true values that exceed exactly r of their K samples. It is flat
  for a calibrated ensemble; its unevenness is the total variation distance between it and the flat histogram.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.metrics._ensembles import crps, root_mean_square

if TYPE_CHECKING:
    import xarray as xr


class AssimilationSpec(MetricSpec):
    """Misfit, error, CRPS and ranks of ensembles of posterior samples; nothing without true states."""

    kind: Literal["assimilation"] = "assimilation"
    of_every_draw: ClassVar[bool] = True

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "truth" not in samples:
            return xr.Dataset()
        cases, members = np.unique(samples["case"].values, return_counts=True)
        count = int(members[0])
        # The samples of a case are adjacent.
        draws = samples["state"].values.astype(np.float64).reshape(len(cases), count, -1)
        truth = samples["truth"].values.astype(np.float64).reshape(len(cases), count, -1)[:, 0]
        mean = draws.mean(1)
        units = str(samples["state"].attrs.get("units", "1"))
        results = {
            "misfit": scalar(samples["misfit"].values.mean(), "chi-square of the observation", "neither"),
            "error_of_mean": scalar(
                root_mean_square(mean - truth), "error of the ensemble mean", "lower", units
            ),
            "error_of_draw": scalar(
                root_mean_square(draws - truth[:, None]), "error of a single sample", "lower", units
            ),
            "spread": scalar(
                root_mean_square(draws - mean[:, None]), "spread of the ensemble", "neither", units
            ),
        }
        if count > 1:
            ranks = (draws < truth[:, None]).sum(1)
            fraction = np.bincount(ranks.ravel(), minlength=count + 1) / ranks.size
            results["ensemble_crps"] = scalar(
                crps(draws, truth), "continuous ranked probability score", "lower", units
            )
            unevenness = 0.5 * np.abs(fraction - 1 / (count + 1)).sum()
            results["rank_unevenness"] = scalar(unevenness, "unevenness of the rank histogram", "lower")
            results["rank_histogram"] = xr.DataArray(
                fraction, dims="rank", attrs={"long_name": "fraction of true values"}
            )
        return xr.Dataset(results)

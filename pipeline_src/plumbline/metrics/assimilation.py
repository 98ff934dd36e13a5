r"""How good an ensemble of posterior draws is, given what was observed of the true state.

The K draws x^k of a case share its observation. Told are means over cases:

- misfit: chi-square of the draws, mean of ((y - A x) / noise)^2, which is one for the true state;
- error: root mean square of the ensemble mean minus the truth, and of single draws;
- CRPS: E|x - truth| - E|x - x'| / 2, over numbers and cases, with the fair estimate of the second term;
- rank histogram: share of true numbers with r of the K draws below them, which is flat for a calibrated ensemble, and the
  total variation between it and a flat one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr


class AssimilationSpec(MetricSpec):
    """Misfit, error, ranked score and ranks of ensembles of posterior draws; nothing for samples without a truth."""

    kind: Literal["assimilation"] = "assimilation"
    of_every_draw: ClassVar[bool] = True

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "truth" not in samples:
            return xr.Dataset()
        cases, members = np.unique(samples["case"].values, return_counts=True)
        count = int(members[0])
        # Draws of a case stand side by side.
        draws = samples["state"].values.astype(np.float64).reshape(len(cases), count, -1)
        truth = samples["truth"].values.astype(np.float64).reshape(len(cases), count, -1)[:, 0]
        mean = draws.mean(1)
        units = str(samples["state"].attrs.get("units", "1"))
        told = {
            "misfit": scalar(samples["misfit"].values.mean(), "chi-square of the observation", "neither"),
            "error_of_mean": scalar(_rms(mean - truth), "error of the ensemble mean", "lower", units),
            "error_of_draw": scalar(_rms(draws - truth[:, None]), "error of a draw", "lower", units),
            "spread": scalar(_rms(draws - mean[:, None]), "spread of the ensemble", "neither", units),
        }
        if count > 1:
            ranks = (draws < truth[:, None]).sum(1)
            fraction = np.bincount(ranks.ravel(), minlength=count + 1) / ranks.size
            told["ensemble_crps"] = scalar(
                crps(draws, truth), "continuous ranked probability score", "lower", units
            )
            unevenness = 0.5 * np.abs(fraction - 1 / (count + 1)).sum()
            told["rank_unevenness"] = scalar(unevenness, "unevenness of the rank histogram", "lower")
            told["rank_histogram"] = xr.DataArray(
                fraction, dims="rank", attrs={"long_name": "share of true values"}
            )
        return xr.Dataset(told)


def crps(draws: np.ndarray, truth: np.ndarray) -> float:
    """The fair CRPS of ensembles (cases, K, n) for true values (cases, n)."""
    count = draws.shape[1]
    error = np.abs(draws - truth[:, None]).mean()
    ordered = np.sort(draws, axis=1)
    # sum_{k, l} |x^k - x^l| from the order statistics.
    weights = 2 * np.arange(1, count + 1) - count - 1
    apart = 2 * np.einsum("k,ckn->cn", weights, ordered).mean()
    return float(error - apart / (2 * count * (count - 1)))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))

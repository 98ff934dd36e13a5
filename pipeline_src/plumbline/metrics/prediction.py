r"""Errors, likelihood and calibration of predicted means and standard deviations.

With the true state y of a test sample, the predicted mean m and the marginal standard deviations s:

- error: mean squared and mean absolute error of m, over samples and coordinates, in the unit `scale`;
- likelihood: mean of -log p(y) per sample, on the feasible set;
- CRPS of the Gaussian marginals, s [w (2 F(w) - 1) + 2 f(w) - 1 / sqrt(pi)] with w = (y - m) / s and the
  standard normal distribution function F and density f, in the unit of the error (Gneiting and Raftery 2007,
  https://doi.org/10.1198/016214506000001437);
- miscalibration: the mean over levels q = 0.05, ..., 0.95 of |q - c(q)|, where c(q) is the fraction of true
  values inside the central interval of level q.

Coordinates that the dataset's variable `present` marks as absent are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import (
    NO_LIKELIHOOD,
    EvaluationContext,
    MetricSpec,
    scalar,
    split_values,
    truth_is_feasible,
)
from plumbline.metrics._splits import training_moments, values_of
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

PAIRS = 400
"""Number of pairs of a true and a predicted value that the report plots."""
LEVELS = np.linspace(0.05, 0.95, 19)
"""Levels of the central intervals."""


class PredictionSpec(MetricSpec):
    """Errors, likelihood and calibration of predictions for the test split; nothing without predictions."""

    kind: Literal["prediction"] = "prediction"
    scale: Literal["none", "max_abs", "std"] = key(default="std")
    """Unit of errors per coordinate: the data's unit (`none`), or its largest absolute value or standard
    deviation in the train split."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr
        from scipy.special import ndtr, ndtri  # scipy.stats takes half a second to import

        if "predicted_mean" not in samples:
            return xr.Dataset()
        count = samples.sizes["sample"]
        truth = split_values(dataset, "test")[:count]
        present = (
            values_of(dataset, "test", "present")[:count]
            if "present" in dataset
            else np.ones_like(truth, bool)
        )
        mean, std = (
            samples[name].values.reshape(count, -1).astype(np.float64)
            for name in ("predicted_mean", "predicted_std")
        )
        unit, scale = self._unit(dataset)
        error = ((mean - truth) / scale)[present]
        known = present & (std > 0)
        safe = np.where(known, std, 1.0)
        w = (truth - mean) / safe
        density = np.exp(-0.5 * w**2) / np.sqrt(2 * np.pi)
        crps = safe / scale * (w * (2 * ndtr(w) - 1) + 2 * density - 1 / np.sqrt(np.pi))
        inside = np.array([np.abs(w[known]) <= ndtri((1 + q) / 2) for q in LEVELS]).mean(1)
        results = {
            "squared_error": scalar(
                np.mean(error**2), "mean squared error", "lower", f"{unit}²" if unit != "1" else unit
            ),
            "absolute_error": scalar(np.mean(np.abs(error)), "mean absolute error", "lower", unit),
            "crps": scalar(np.mean(crps[known]), "continuous ranked probability score", "lower", unit),
            "miscalibration": scalar(np.abs(inside - LEVELS).mean(), "miscalibration", "lower"),
            "pairs": (
                ("point", "side"),
                _pairs(truth[present], mean[present]),
                {"units": dataset["state"].attrs.get("units", "1")},
            ),
            "coverage_by_level": ("level", inside, {"long_name": "fraction of true values inside"}),
        }
        for suffix, of in (("", ""), ("_free", ", in all coordinates")):
            if f"log_likelihood{suffix}" in samples:
                # The density without the constraint (`_free`) is also defined for an infeasible true state.
                exists = bool(suffix) or truth_is_feasible(samples, dataset, by)
                value = -samples[f"log_likelihood{suffix}"].values.mean() if exists else np.nan
                results[f"negative_log_likelihood{suffix}"] = scalar(
                    value,
                    f"negative log-likelihood{of}",
                    "lower",
                    "nats per sample",
                    remark="" if exists else NO_LIKELIHOOD,
                )
        for name, constraint in by.constraints.items():
            violation = constraint.violation(by.tensor(samples["predicted_mean"].values))
            results[f"mean_relative_violation_{name}"] = scalar(
                violation.max(), f"largest relative violation of {name} by a predicted mean", "lower"
            )
        return xr.Dataset(
            results,
            coords={
                "side": ["true", "predicted"],
                "level": ("level", LEVELS, {"long_name": "level of the central interval"}),
            },
        )

    def _unit(self, dataset: xr.Dataset) -> tuple[str, np.ndarray]:
        """The name of the unit of errors, and its size (n,) per coordinate, or (1,)."""
        if self.scale == "none":
            return str(dataset["state"].attrs.get("units", "1")), np.ones(1)
        std, largest = training_moments(dataset, per_column=True)
        if self.scale == "max_abs":
            return "largest values", largest
        return "standard deviations", std


def _pairs(truth: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """True and predicted values (PAIRS, 2) at evenly spaced indices."""
    chosen = np.linspace(0, len(truth) - 1, PAIRS).astype(int)
    return np.stack([truth[chosen], mean[chosen]], 1)

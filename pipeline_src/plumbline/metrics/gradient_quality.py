"""Bias, error and variance of gradient estimators, by dimension, number of equalities and loss.

After the comparison of estimators by Li, Sahu, Van den Broeck, Zeng (2025, https://arxiv.org/abs/2502.05416).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr

TITLES = {
    "bias": "bias, 1 - cosine of the mean gradient",
    "error": "error, mean of 1 - cosine per gradient",
    "variance": "variance of the cosine",
    "size": "relative error of the mean gradient",
}
PARAMETERS = ("mean", "variance", "both")
LOSSES = ("absolute", "squared")


class GradientQualitySpec(MetricSpec):
    """Errors of the gradients of `gradient_estimator`, averaged over problems; nothing for other models."""

    kind: Literal["gradient_quality"] = "gradient_quality"
    resampled: ClassVar[bool] = False

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "bias_mean" not in samples:
            return xr.Dataset()
        dimension, equalities, loss = (samples[name].values for name in ("dimension", "equalities", "loss"))
        coords: dict[str, list[str] | np.ndarray] = {
            "loss": list(LOSSES),
            "gradient_of": list(PARAMETERS),
            "dimension": np.unique(dimension),
            "equalities": np.unique(equalities),
        }
        results: dict[str, xr.DataArray | tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {}
        for what, title in TITLES.items():
            for p in PARAMETERS:
                results[f"{what}_{p}"] = scalar(
                    float(samples[f"{what}_{p}"].mean()), f"{title} ({p})", "lower"
                )
            by_cell = np.full((2, 3, len(coords["dimension"]), len(coords["equalities"])), np.nan)
            for index in np.ndindex(by_cell.shape):
                here = (
                    (loss == index[0])
                    & (dimension == coords["dimension"][index[2]])
                    & (equalities == coords["equalities"][index[3]])
                )
                if here.any():
                    by_cell[index] = samples[f"{what}_{PARAMETERS[index[1]]}"].values[here].mean()
            results[f"gradient_{what}"] = (tuple(coords), by_cell, {"long_name": title})
        return xr.Dataset(results, coords=coords)

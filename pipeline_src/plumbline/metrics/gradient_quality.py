"""Bias, error and variance of gradient estimators, over problems, by dimension, equalities and loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr

TITLES = {
    "bias": "bias, 1 - cosine of the mean gradient",
    "error": "error, mean 1 - cosine of a gradient",
    "variance": "variance of the cosine",
    "size": "relative error of the mean gradient",
}
PARAMETERS = ("mean", "variance", "both")
LOSSES = ("absolute", "squared")


class GradientQualitySpec(MetricSpec):
    """Means over problems of what `gradient_estimator` tells; nothing for other samples."""

    kind: Literal["gradient_quality"] = "gradient_quality"
    resampled: ClassVar[bool] = False

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "bias_mean" not in samples:
            return xr.Dataset()
        dimension, equalities, loss = (samples[name].values for name in ("dimension", "equalities", "loss"))
        coords: dict[str, Any] = {
            "loss": list(LOSSES),
            "gradient_of": list(PARAMETERS),
            "dimension": np.unique(dimension),
            "equalities": np.unique(equalities),
        }
        told = {}
        for what, title in TITLES.items():
            for p in PARAMETERS:
                told[f"{what}_{p}"] = scalar(float(samples[f"{what}_{p}"].mean()), f"{title} ({p})", "lower")
            by_cell = np.full((2, 3, len(coords["dimension"]), len(coords["equalities"])), np.nan)
            for index in np.ndindex(by_cell.shape):
                here = (
                    (loss == index[0])
                    & (dimension == coords["dimension"][index[2]])
                    & (equalities == coords["equalities"][index[3]])
                )
                if here.any():
                    by_cell[index] = samples[f"{what}_{PARAMETERS[index[1]]}"].values[here].mean()
            told[f"gradient_{what}"] = (tuple(coords), by_cell, {"long_name": title})
        return xr.Dataset(told, coords=coords)

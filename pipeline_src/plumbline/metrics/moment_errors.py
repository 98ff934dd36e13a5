r"""Errors of the mean and of the spread, of each coordinate: MMSE and SMSE.

With the mean m_i and the standard deviation s_i of coordinate i over the samples, and the exact m0_i and
s0_i,

    MMSE = mean over i of (m_i - m0_i)^2,    SMSE = mean over i of (s_i - s0_i)^2

(columns of ECI sampling, https://arxiv.org/abs/2412.01786, and of PCFM, https://arxiv.org/abs/2506.04171).
If the coordinate `units` gives the fields of a sample different units, values are in standard deviations of
each field in the training data. Exact are the moments that the dataset stores (`conditional_mean`,
`conditional_covariance`), and otherwise those of the whole test split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar, split_values
from plumbline.metrics._splits import axis_of_units, training_scale

if TYPE_CHECKING:
    import xarray as xr


class MomentErrorsSpec(MetricSpec):
    """Mean square errors of the coordinates' means (MMSE) and standard deviations (SMSE)."""

    kind: Literal["moment_errors"] = "moment_errors"

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        state = samples["state"].values.reshape(samples.sizes["sample"], -1).astype(np.float64)
        mean, std = exact_moments(dataset)
        unit = str(dataset["state"].attrs.get("units", "1"))
        if axis_of_units(dataset) is not None:
            scale, unit = training_scale(dataset), "standard deviations"
            state, mean, std = state / scale, mean / scale, std / scale
        squared = unit if unit == "1" else f"({unit})^2"
        errors = {
            "mean_mse": (((state.mean(0) - mean) ** 2).mean(), "MMSE, mean square error of the mean"),
            "std_mse": (
                ((state.std(0, ddof=1) - std) ** 2).mean(),
                "SMSE, mean square error of the standard deviation",
            ),
        }
        return xr.Dataset(
            {name: scalar(value, title, "lower", squared) for name, (value, title) in errors.items()}
        )


def exact_moments(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The mean (n,) and standard deviations (n,) that the dataset stores, or else those of the test split."""
    if "conditional_mean" in dataset:
        mean = dataset["conditional_mean"].values.ravel()
        if "conditional_std" in dataset:
            return mean, dataset["conditional_std"].values.ravel()
        if "conditional_covariance" in dataset:
            size = len(mean)
            variances = dataset["conditional_covariance"].values.reshape(size, size).diagonal()
            return mean, np.sqrt(variances.clip(min=0))
    test = split_values(dataset, "test")
    return test.mean(0), test.std(0, ddof=1)

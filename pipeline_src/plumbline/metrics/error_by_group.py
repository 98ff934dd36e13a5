"""Mean absolute error of predictions by group, such as the element of an atom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, split_values

if TYPE_CHECKING:
    import xarray as xr


class ErrorByGroupSpec(MetricSpec):
    """Mean absolute error of the predicted means in each group of coordinates, in the data's unit."""

    kind: Literal["error_by_group"] = "error_by_group"
    variable: str
    """The dataset's variable, shaped like the state, that holds each coordinate's group, -1 for none."""
    names: str | None = None
    """The dataset's coordinate that names the groups; null for their numbers."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "predicted_mean" not in samples:
            return xr.Dataset()
        count = samples.sizes["sample"]
        group = dataset[self.variable].values[dataset["split"].values == "test"][:count].reshape(count, -1)
        if (
            error := np.abs(
                samples["predicted_mean"].values.reshape(count, -1) - split_values(dataset, "test")[:count]
            )
        ).shape != group.shape:
            raise ValueError(
                f"`{self.variable}` has another shape than the state: {group.shape}, {error.shape}."
            )
        known = group >= 0
        number = np.bincount(group[known])
        total = np.bincount(group[known], error[known])
        with np.errstate(invalid="ignore"):
            mean = np.where(number > 0, total / number, np.nan)
        unit = dataset["state"].attrs.get("units", "1")
        groups = np.arange(len(mean))
        names = dataset[self.names].values[groups] if self.names else groups.astype(str)
        return xr.Dataset(
            {
                "error_by_group": ("group", mean, {"long_name": "mean absolute error", "units": unit}),
                "size_of_group": ("group", number, {"long_name": f"coordinates of the {self.variable}"}),
            },
            coords={"group": groups, "group_name": ("group", names.astype("<U32"))},
        )

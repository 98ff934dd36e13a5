"""Mean absolute error of predictions by group of coordinates, such as the atoms of one element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, split_values

if TYPE_CHECKING:
    import xarray as xr


class ErrorByGroupSpec(MetricSpec):
    """Mean absolute error of the predicted means per group of coordinates; nothing without predictions."""

    kind: Literal["error_by_group"] = "error_by_group"
    variable: str
    """The dataset's variable with the group of each coordinate, shaped like the state; -1 for no group."""
    names: str | None = None
    """The dataset's coordinate with the names of the groups; null to name groups by their indices."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """The error and size of each group.

        Raises:
            ValueError: the variable of groups does not have the shape of the state.
        """
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
                f"`variable`: `{self.variable}` must have the shape of the state {error.shape}, "
                f"found {group.shape}."
            )
        known = group >= 0
        size = np.bincount(group[known])
        total = np.bincount(group[known], error[known])
        with np.errstate(invalid="ignore"):
            mean = np.where(size > 0, total / size, np.nan)
        unit = dataset["state"].attrs.get("units", "1")
        groups = np.arange(len(mean))
        names = dataset[self.names].values[groups] if self.names else groups.astype(str)
        return xr.Dataset(
            {
                "error_by_group": ("group", mean, {"long_name": "mean absolute error", "units": unit}),
                "size_of_group": (
                    "group",
                    size,
                    {"long_name": f"number of coordinates per {self.variable}"},
                ),
            },
            coords={"group": groups, "group_name": ("group", names.astype("<U32"))},
        )

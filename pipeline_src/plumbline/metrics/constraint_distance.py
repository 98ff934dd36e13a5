"""Distances to the constraints, sample by sample, by the very objects that the samplers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.metrics import Instruments, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr


class ConstraintDistanceSpec(MetricSpec):
    """Mean and largest distance to each constraint, largest violation, and the share of feasible samples."""

    kind: Literal["constraint_distance"] = "constraint_distance"
    of_every_draw: ClassVar[bool] = True

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: Instruments) -> xr.Dataset:
        import torch
        import xarray as xr

        state = torch.as_tensor(samples["state"].values)
        judged = {}
        for name, constraint in by.constraints.items():
            distance, violation = constraint.distance(state), constraint.violation(state)
            unit = constraint.unit
            judged[f"distance_{name}"] = scalar(distance.mean(), f"distance to {name}", "lower", unit)
            judged[f"largest_distance_{name}"] = scalar(
                distance.max(), f"largest distance to {name}", "lower", unit
            )
            judged[f"violation_{name}"] = scalar(violation.max(), f"largest violation of {name}", "lower")
            judged[f"feasible_{name}"] = scalar(
                constraint.satisfied(state).float().mean(), f"share feasible for {name}", "higher"
            )
            for what, values in (("distance", distance), ("violation", violation)):
                judged[f"{what}_{name}_each"] = xr.DataArray(
                    values.numpy(), dims="sample", attrs={"long_name": f"{what} to {name}", "units": unit}
                )
        return xr.Dataset(judged)

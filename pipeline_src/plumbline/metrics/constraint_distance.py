"""Distance of each sample to the constraints, by the same constraint objects that the samplers use."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec, scalar

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

    from plumbline.constraints import Constraint
    from plumbline.metrics._pairs import Pairs


class ConstraintDistanceSpec(MetricSpec):
    """Mean and largest distance to each constraint, in its unit; largest relative violation, unitless; and
    the fraction of feasible samples, whose relative violation is within the constraint's tolerance."""

    kind: Literal["constraint_distance"] = "constraint_distance"
    of_every_draw: ClassVar[bool] = True

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        state = by.tensor(samples["state"].values)
        results: dict[str, xr.DataArray] = {}
        for name, constraint in by.constraints.items():
            distance, violation = constraint.distance(state).cpu(), constraint.violation(state).cpu()
            results |= {
                f"distance_{name}_each": _each(distance, f"distance to {name}", constraint.unit),
                f"relative_violation_{name}_each": _each(violation, f"relative violation of {name}", "1"),
            }
            results |= self._summary(name, constraint, distance.numpy(), violation.numpy())
        return xr.Dataset(results)

    def without(
        self,
        left_out: np.ndarray,
        found: xr.Dataset,
        samples: xr.Dataset,
        dataset: xr.Dataset,
        by: EvaluationContext,
        pairs: Pairs | None,
    ) -> dict[str, float]:
        kept = np.setdiff1d(np.arange(samples.sizes["sample"]), left_out)
        results: dict[str, float] = {}
        for name, constraint in by.constraints.items():
            distance, violation = (
                found[f"{what}_{name}_each"].values[kept] for what in ("distance", "relative_violation")
            )
            results |= {
                key: float(value)
                for key, value in self._summary(name, constraint, distance, violation).items()
            }
        return results

    def _summary(
        self, name: str, constraint: Constraint, distance: np.ndarray, violation: np.ndarray
    ) -> dict[str, xr.DataArray]:
        import torch

        about = {"constraint": name, "tolerance": constraint.tolerance}
        summary = {
            f"distance_{name}": scalar(
                float(torch.as_tensor(distance).mean()), f"distance to {name}", "lower", constraint.unit
            ),
            f"largest_distance_{name}": scalar(
                distance.max(), f"largest distance to {name}", "lower", constraint.unit
            ),
            f"relative_violation_{name}": scalar(
                violation.max(), f"largest relative violation of {name}", "lower"
            ),
            f"feasible_{name}": scalar(
                (violation <= constraint.tolerance).mean(),
                f"fraction of samples that satisfy {name}",
                "higher",
            ),
        }
        for value in summary.values():
            value.attrs |= about
        return summary


def _each(values: Tensor, long_name: str, units: str) -> xr.DataArray:
    import xarray as xr

    return xr.DataArray(values.numpy(), dims="sample", attrs={"long_name": long_name, "units": units})

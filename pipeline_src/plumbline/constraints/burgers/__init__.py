"""Burgers' equation: each state against the solver's propagation of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints.burgers.residual import BurgersResidual


class BurgersResidualSpec(ConstraintSpec):
    """States u(time, x) follow Burgers' equation; length, viscosity and times are those of the dataset."""

    kind: Literal["burgers_residual"] = "burgers_residual"
    max_step: float = key("time", gt=0, default=0.05)
    """Longest time step of the propagation."""

    def build(self, example: xr.Dataset) -> BurgersResidual:
        from plumbline.constraints.burgers.residual import BurgersResidual

        time = example["time"].values
        return BurgersResidual(
            spacing=float(time[1] - time[0]),
            length=float(example["x"].attrs["period"]),
            viscosity=float(example.attrs["viscosity"]),
            max_step=self.max_step,
        )

    def offers(self) -> tuple[str, ...]:
        return ("project",)

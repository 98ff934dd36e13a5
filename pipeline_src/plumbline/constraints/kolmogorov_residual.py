"""Kolmogorov flow: each state compared with the solver's propagation of the previous one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec
from plumbline.coordinates import (
    attribute,
    equal_periods,
    positive_attribute,
    require_velocities,
    time_spacing,
    whole_attribute,
)
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._kolmogorov_residual import KolmogorovResidual


class KolmogorovResidualSpec(ConstraintSpec):
    """Velocities (time, component, x, y) follow the forced Navier-Stokes equations.

    The parameters of the flow are those of the dataset.
    """

    smooth: ClassVar[bool] = True

    kind: Literal["kolmogorov_residual"] = "kolmogorov_residual"
    max_step: float = key("time", gt=0, default=0.01)
    """Largest time step of the propagation."""

    def build(self, example: xr.Dataset) -> KolmogorovResidual:
        from plumbline.constraints._kolmogorov_residual import KolmogorovResidual

        asker = f"`{self.kind}`"
        require_velocities(example, asker, before=("time",))
        return KolmogorovResidual(
            spacing=time_spacing(example, asker),
            length=equal_periods(example, ("x", "y"), asker),
            viscosity=positive_attribute(example, "viscosity", asker),
            drag=attribute(example, "drag", asker),
            forcing_amplitude=attribute(example, "forcing_amplitude", asker),
            forcing_wavenumber=whole_attribute(example, "forcing_wavenumber", asker),
            max_step=self.max_step,
        )

"""Burgers' equation: each state compared with the solver's propagation of the previous one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, ProjectableConstraint
from plumbline.coordinates import period, positive_attribute, require_dimensions, time_spacing
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._evolution import EvolutionResidual


class BurgersResidualSpec(ConstraintSpec):
    """States u(time, x) follow Burgers' equation, with the length, viscosity and times of the dataset."""

    smooth: ClassVar[bool] = True

    kind: Literal["burgers_residual"] = "burgers_residual"
    discretisation: Literal["spectral", "differences"] = "spectral"
    """That of the dataset: a Fourier method, or central differences with explicit Euler steps (published)."""
    max_step: float = key("time", gt=0, default=0.05)
    """Largest time step of the propagation."""

    def build(self, example: xr.Dataset) -> EvolutionResidual:
        from plumbline.constraints._burgers_residual import BurgersDifferences, BurgersResidual
        from plumbline.solvers.burgers_differences import steps_between

        asker = f"`{self.kind}`"
        require_dimensions(example, ("time", "x"), asker, exactly=True)
        spacing = time_spacing(example, asker)
        length, viscosity = period(example, "x", asker), positive_attribute(example, "viscosity", asker)
        if self.discretisation == "differences":
            steps = steps_between(spacing, self.max_step)
            return BurgersDifferences(spacing=spacing, length=length, viscosity=viscosity, steps=steps)
        return BurgersResidual(spacing=spacing, length=length, viscosity=viscosity, max_step=self.max_step)

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

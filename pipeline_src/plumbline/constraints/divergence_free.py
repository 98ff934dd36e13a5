"""Divergence-free velocity fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, GaussianConditioning, ProjectableConstraint
from plumbline.coordinates import equal_periods, require_velocities

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._divergence_free import PeriodicDivergence


class DivergenceFreeSpec(ConstraintSpec):
    """The divergence of velocities (..., component, x, y) on a periodic square is zero."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["divergence_free"] = "divergence_free"
    derivative: Literal["spectral", "backward"] = "spectral"
    """Discrete derivative: in Fourier space, or backward differences as on a staggered grid (published)."""

    def build(self, example: xr.Dataset) -> PeriodicDivergence:
        from plumbline.constraints._divergence_free import BackwardDivergence, DivergenceFree

        derivative = DivergenceFree if self.derivative == "spectral" else BackwardDivergence
        asker = f"`{self.kind}`"
        require_velocities(example, asker)
        return derivative(length=equal_periods(example, ("x", "y"), asker))

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

"""Velocity fields without divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints.divergence.periodic import PeriodicDivergence


class DivergenceFreeSpec(ConstraintSpec):
    """The divergence of velocities (..., component, x, y) on a periodic square is zero."""

    kind: Literal["divergence_free"] = "divergence_free"
    derivative: Literal["spectral", "backward"] = "spectral"
    """How derivatives are taken: in Fourier space, or by backward differences as on a staggered grid (published)."""

    def build(self, example: xr.Dataset) -> PeriodicDivergence:
        from plumbline.constraints.divergence.backward import BackwardDivergence
        from plumbline.constraints.divergence.spectral import DivergenceFree

        derivative = DivergenceFree if self.derivative == "spectral" else BackwardDivergence
        return derivative(length=float(example["x"].attrs["period"]))

    def offers(self) -> tuple[str, ...]:
        return ("project", "condition")

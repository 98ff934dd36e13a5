"""Velocity fields without divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints.divergence.spectral import DivergenceFree


class DivergenceFreeSpec(ConstraintSpec):
    """The spectral divergence of velocities (..., component, x, y) on a periodic square is zero."""

    kind: Literal["divergence_free"] = "divergence_free"

    def build(self, example: xr.Dataset) -> DivergenceFree:
        from plumbline.constraints.divergence.spectral import DivergenceFree

        return DivergenceFree(length=float(example["x"].attrs["period"]))

    def offers(self) -> tuple[str, ...]:
        return ("project", "condition")

"""Kolmogorov flow: each state against the solver's propagation of the one before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ConstraintSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints.kolmogorov.residual import KolmogorovResidual


class KolmogorovResidualSpec(ConstraintSpec):
    """Velocities (time, component, x, y) follow the forced Navier-Stokes equations; all of the flow is the dataset's."""

    kind: Literal["kolmogorov_residual"] = "kolmogorov_residual"
    max_step: float = key("time", gt=0, default=0.01)
    """Longest time step of the propagation."""

    def build(self, example: xr.Dataset) -> KolmogorovResidual:
        from plumbline.constraints.kolmogorov.residual import KolmogorovResidual

        time = example["time"].values
        return KolmogorovResidual(
            spacing=float(time[1] - time[0]),
            length=float(example["x"].attrs["period"]),
            viscosity=float(example.attrs["viscosity"]),
            drag=float(example.attrs["drag"]),
            forcing_amplitude=float(example.attrs["forcing_amplitude"]),
            forcing_wavenumber=int(example.attrs["forcing_wavenumber"]),
            max_step=self.max_step,
        )

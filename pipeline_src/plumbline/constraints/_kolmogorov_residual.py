"""The momentum equation of Kolmogorov flow as a constraint on velocities (B, T, 2, X, Y).

A state is propagated by way of its vorticity, which determines a divergence-free velocity with zero mean.
Divergence and a mean velocity therefore also appear in the residual.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints._evolution import EvolutionResidual
from plumbline.solvers import kolmogorov


class KolmogorovResidual(EvolutionResidual):
    """u_{n+1} - S(u_n) = 0 for velocities u_n, where S is the solver's propagation.

    Args:
        spacing: time between states.
        length: side of the periodic square.
        viscosity: kinematic viscosity.
        drag: linear drag.
        forcing_amplitude: amplitude of the forcing.
        forcing_wavenumber: number of forcing waves per side.
        max_step: longest time step of the propagation.
    """

    tolerance = 1e-4

    def __init__(
        self,
        *,
        spacing: float,
        length: float,
        viscosity: float,
        drag: float,
        forcing_amplitude: float,
        forcing_wavenumber: int,
        max_step: float,
    ) -> None:
        self.spacing, self.length, self.max_step = spacing, length, max_step
        self.viscosity, self.drag = viscosity, drag
        self.forcing_amplitude, self.forcing_wavenumber = forcing_amplitude, forcing_wavenumber

    def propagated(self, state: Float[Tensor, "B 2 X Y"], states: int) -> Float[Tensor, "B T 2 X Y"]:
        times = self.spacing * torch.arange(1, states + 1, dtype=torch.float64)
        later = kolmogorov.solve(
            kolmogorov.vorticity(state, length=self.length),
            times,
            length=self.length,
            viscosity=self.viscosity,
            drag=self.drag,
            forcing_amplitude=self.forcing_amplitude,
            forcing_wavenumber=self.forcing_wavenumber,
            max_step=self.max_step,
        )
        velocities = kolmogorov.velocity(later, length=self.length)
        return torch.cat([state[:, None], velocities], dim=1)

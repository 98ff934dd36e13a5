"""Burgers' equation by the dealiased Fourier method that draws the data."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints.evolution.projection import nearest_trajectory
from plumbline.constraints.evolution.residual import EvolutionResidual
from plumbline.solvers import burgers


class BurgersResidual(EvolutionResidual):
    """Each state u(t_{n+1}) against the solver's propagation of u(t_n).

    Args:
        spacing: time between states.
        length: period of the domain.
        viscosity: kinematic viscosity.
        max_step: longest time step of the propagation.
    """

    def __init__(self, *, spacing: float, length: float, viscosity: float, max_step: float) -> None:
        self.spacing = spacing
        self.length = length
        self.viscosity = viscosity
        self.max_step = max_step

    def propagated(self, state: Float[Tensor, "B X"], states: int) -> Float[Tensor, "B T X"]:
        times = self.spacing * torch.arange(states + 1, dtype=torch.float64)
        return burgers.solve(
            state, times, length=self.length, viscosity=self.viscosity, max_step=self.max_step
        )

    def project(self, x: Float[Tensor, "B T X"]) -> Float[Tensor, "B T X"]:
        """The trajectory of the solver nearest to each sample."""
        return nearest_trajectory(self, x)

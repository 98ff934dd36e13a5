"""Burgers' equation as a constraint on trajectories (B, T, X), by the solvers that generate the data: a
dealiased Fourier method, or central differences with explicit Euler steps.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints._evolution import EvolutionResidual, nearest_trajectory
from plumbline.solvers import burgers, burgers_differences


class BurgersResidual(EvolutionResidual):
    """u_{n+1} - S(u_n) = 0, where S propagates a state by the dealiased Fourier method.

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


class BurgersDifferences(EvolutionResidual):
    """u_{n+1} - S(u_n) = 0, where S takes explicit Euler steps with central differences.

    Args:
        spacing: time between states.
        length: period of the domain.
        viscosity: kinematic viscosity.
        steps: explicit steps between states.
    """

    def __init__(self, *, spacing: float, length: float, viscosity: float, steps: int) -> None:
        self.spacing = spacing
        self.length = length
        self.viscosity = viscosity
        self.steps = steps

    def propagated(self, state: Float[Tensor, "B X"], states: int) -> Float[Tensor, "B T X"]:
        return burgers_differences.solve(
            state,
            states,
            self.steps,
            step=self.spacing / self.steps,
            length=self.length,
            viscosity=self.viscosity,
        )

    def project(self, x: Float[Tensor, "B T X"]) -> Float[Tensor, "B T X"]:
        """The trajectory of the scheme nearest to each sample."""
        return nearest_trajectory(self, x)

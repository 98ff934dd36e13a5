"""Burgers' equation by finite differences and explicit Euler steps (Feng, Baptista, Bouman, ICLR 2025)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from plumbline.constraints.evolution.projection import nearest_trajectory
from plumbline.constraints.evolution.residual import EvolutionResidual
from plumbline.solvers import burgers_differences


class BurgersDifferences(EvolutionResidual):
    """Each state u(t_{n+1}) against that many explicit steps from u(t_n).

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
            state, states, self.steps, step=self.spacing / self.steps, length=self.length, viscosity=self.viscosity
        )  # fmt: skip

    def project(self, x: Float[Tensor, "B T X"]) -> Float[Tensor, "B T X"]:
        """The trajectory of the scheme nearest to each sample."""
        return nearest_trajectory(self, x)

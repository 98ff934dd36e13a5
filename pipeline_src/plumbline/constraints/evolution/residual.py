r"""Evolution equations as constraints on trajectories u of shape (B, T, *S).

With S a solver's propagation over the spacing of the states,

    residual_n(u) = u_{n+1} - S(u_n),    n = 0 .. T - 2,

which is zero, to rounding, on the solver's own trajectories on this grid.
"""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint


class EvolutionResidual(Constraint):
    """Each state u(t_{n+1}) against the propagation of u(t_n)."""

    unit = "length/time"
    tolerance = 1e-5

    @abstractmethod
    def propagated(self, state: Float[Tensor, "B *S"], states: int) -> Float[Tensor, "B T *S"]:
        """The state itself and the `states` that follow from it; differentiable."""

    def residual(self, x: Float[Tensor, "B T *S"]) -> Float[Tensor, "B T1 *S"]:
        """u_{n+1} - S(u_n)."""
        after = self.propagated(x[:, :-1].flatten(0, 1), 1)[:, 1]
        return x[:, 1:] - after.view_as(x[:, 1:])

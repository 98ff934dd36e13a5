r"""Burgers' equation as a constraint on trajectories u of shape (B, T, X).

With S the solver's propagation over the spacing of the states,

    residual_n(u) = u_{n+1} - S(u_n),    n = 0 .. T - 2,

which is zero, to rounding, on the solver's own trajectories on this grid. The feasible set is the image of
the first state: u = F(v) = (v, S(v), S(S(v)), ...).

The nearest feasible point minimises |F(v) - u|^2 over v. It is found by Levenberg-Marquardt: F is linearised
along every grid direction at once, by forward-mode differentiation through the solver, and each trajectory has
its own damping. The minimum is a local one, that of the basin of the first state.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.solvers import burgers

# Trajectories times tangents that are propagated together: keeps the working set to some tens of megabytes.
TANGENT_BATCH = 2048


class BurgersResidual(Constraint):
    """Each state u(t_{n+1}) against the solver's propagation of u(t_n).

    Args:
        spacing: time between states.
        length: period of the domain.
        viscosity: kinematic viscosity.
        max_step: longest time step of the propagation.
        iterations: most Levenberg-Marquardt iterations of a projection.
    """

    unit = "length/time"

    def __init__(
        self, *, spacing: float, length: float, viscosity: float, max_step: float, iterations: int = 12
    ) -> None:
        self.spacing = spacing
        self.length = length
        self.viscosity = viscosity
        self.max_step = max_step
        self.iterations = iterations
        self.tolerance = 1e-5

    def residual(self, x: Float[Tensor, "B T X"]) -> Float[Tensor, "B T-1 X"]:
        """u_{n+1} - S(u_n), velocity."""
        before = x[:, :-1].flatten(0, 1)
        after = self._propagated(before, 1)[:, 1].view_as(x[:, 1:])
        return x[:, 1:] - after

    def project(self, x: Float[Tensor, "B T X"]) -> Float[Tensor, "B T X"]:
        """The trajectory of the solver nearest to each sample, in the dtype of the sample.

        Trajectories whose iteration did not settle are still feasible: they are trajectories of the solver.
        """
        target = x.detach().double()
        start = target[:, 0]
        damping = torch.full((len(x),), 1e-3, dtype=torch.float64, device=x.device)
        fitted = self._propagated(start, x.shape[1] - 1)
        loss = (fitted - target).square().sum((1, 2))
        for _ in range(self.iterations):
            normal, gradient = self._normal_equations(start, fitted - target)
            scale = normal.diagonal(dim1=1, dim2=2)
            step = torch.linalg.solve(normal + torch.diag_embed(damping[:, None] * scale), gradient)
            trial = start - step
            trial_fitted = self._propagated(trial, x.shape[1] - 1)
            trial_loss = (trial_fitted - target).square().sum((1, 2))
            better = trial_loss < loss
            start = torch.where(better[:, None], trial, start)
            fitted = torch.where(better[:, None, None], trial_fitted, fitted)
            settled = (loss - trial_loss).abs() <= 1e-10 * loss
            loss = torch.minimum(loss, trial_loss)
            damping = torch.where(better, damping / 10, damping * 10)
            if bool((settled | (damping > 1e6)).all()):
                break
        return fitted.to(x.dtype)

    def _propagated(self, state: Tensor, states: int) -> Tensor:
        times = self.spacing * torch.arange(states + 1, dtype=torch.float64)
        return burgers.solve(
            state, times, length=self.length, viscosity=self.viscosity, max_step=self.max_step
        )

    def _normal_equations(self, start: Tensor, misfit: Tensor) -> tuple[Tensor, Tensor]:
        """J^T J (B, X, X) and J^T misfit (B, X), J the derivative of the trajectory by its first state."""
        points = start.shape[-1]
        normal = start.new_empty(len(start), points, points)
        gradient = start.new_empty(len(start), points)
        directions = torch.eye(points, dtype=start.dtype, device=start.device)
        for part in torch.arange(len(start)).split(max(1, TANGENT_BATCH // points)):
            states = start[part].repeat_interleave(points, 0)
            tangents = directions.repeat(len(part), 1)
            derivative = torch.func.jvp(
                lambda v: self._propagated(v, misfit.shape[1] - 1), (states,), (tangents,)
            )[1]
            jacobian = derivative.reshape(len(part), points, -1)
            normal[part] = jacobian @ jacobian.mT
            gradient[part] = (jacobian @ misfit[part].flatten(1)[..., None]).squeeze(-1)
        return normal, gradient

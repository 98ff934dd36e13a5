r"""Evolution equations as constraints on trajectories u of shape (B, T, *S).

With S a solver's propagation over the spacing of the states,

    residual_n(u) = u_{n+1} - S(u_n),    n = 0 .. T - 2,

which is zero, to rounding, on the solver's own trajectories on this grid.

The trajectory nearest to a sample.

The feasible set of an evolution equation is the image of the first state, u = F(v) = (v, S(v), S(S(v)), ...). The nearest
point minimises |F(v) - u|^2 over v. It is found by Levenberg-Marquardt, with a damping of its own for each trajectory, of which
those that have settled are left alone. F is linearised along every grid direction at once, by differences: in double
precision they are good to a ten-millionth, and take a sixteenth of the time of forward-mode differentiation through the
solver. The minimum is a local one, that of the basin of the first state.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
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


# Trajectories times directions that are propagated together: keeps the working set to some tens of megabytes.
DIRECTION_BATCH = 2048
ITERATIONS = 12
# Step of the differences, over the size of the state.
DIFFERENCE = 1e-7
# Relative distance at which a sample is a trajectory.
SETTLED = 1e-7
# From any state in single precision to one that is as good as zero.
HALVINGS = 256
# Neither equation's solutions outgrow their start; a scheme that has them do so has become unstable.
LARGEST_GROWTH = 2.0


def nearest_trajectory(
    equation: EvolutionResidual, x: Float[Tensor, "B T X"], iterations: int = ITERATIONS
) -> Float[Tensor, "B T X"]:
    """The trajectory nearest to each sample, in the dtype of the sample.

    Trajectories whose iteration did not settle are still feasible: they are trajectories of the solver.

    Args:
        equation: the constraint, on states with one axis.
        x: the samples.
        iterations: most Levenberg-Marquardt iterations.
    """
    target = x.detach().double()
    start, fitted = _stable_start(equation, target[:, 0].clone(), x.shape[1] - 1)
    loss = (fitted - target).square().sum((1, 2))
    # Below what single precision tells apart there is nothing to gain.
    smallest = SETTLED**2 * target.square().sum((1, 2))
    damping = torch.full_like(loss, 1e-3)
    active = torch.nonzero(loss > smallest).squeeze(1)
    for _ in range(iterations):
        if not len(active):
            break
        v, known, wanted = start[active], fitted[active], target[active]
        normal, gradient = _normal_equations(equation, v, known, known - wanted)
        damped = damping[active, None] * normal.diagonal(dim1=1, dim2=2)
        trial = v - torch.linalg.solve(normal + torch.diag_embed(damped), gradient)
        trial_fitted = equation.propagated(trial, x.shape[1] - 1)
        trial_loss = (trial_fitted - wanted).square().sum((1, 2))
        # A trial that blew up has no loss.
        better = trial_loss < loss[active]
        settled = (loss[active] - trial_loss).abs() <= 1e-10 * loss[active]
        start[active] = torch.where(better[:, None], trial, v)
        fitted[active] = torch.where(better[:, None, None], trial_fitted, known)
        loss[active] = torch.where(better, trial_loss, loss[active])
        damping[active] = torch.where(better, damping[active] / 10, damping[active] * 10)
        done = settled | (damping[active] > 1e6) | (loss[active] <= smallest[active])
        active = active[~done]
    return fitted.to(x.dtype)


def _stable_start(equation: EvolutionResidual, state: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """The states, halved as often as an explicit scheme needs not to blow up from them, and their trajectories."""
    for _ in range(HALVINGS):
        fitted = equation.propagated(state, states)
        stable = fitted.abs().amax((1, 2)) <= LARGEST_GROWTH * state.abs().amax(1)
        if bool(stable.all()):
            break
        state = torch.where(stable[:, None], state, state / 2)
    return state, fitted


def _normal_equations(
    equation: EvolutionResidual,
    start: Float[Tensor, "B X"],
    fitted: Float[Tensor, "B T X"],
    misfit: Float[Tensor, "B T X"],
) -> tuple[Float[Tensor, "B X X"], Float[Tensor, "B X"]]:
    """J^T J and J^T misfit, J the derivative of the trajectory `fitted` by its first state `start`."""
    points = start.shape[-1]
    normal = start.new_empty(len(start), points, points)
    gradient = start.new_empty(len(start), points)
    directions = torch.eye(points, dtype=start.dtype, device=start.device)
    for part in torch.arange(len(start)).split(max(1, DIRECTION_BATCH // points)):
        size = DIFFERENCE * start[part].abs().amax(1).clamp(min=DIFFERENCE)[:, None, None]
        moved = (start[part, None] + size * directions).flatten(0, 1)
        trajectories = equation.propagated(moved, misfit.shape[1] - 1).unflatten(0, (-1, points))
        jacobian = ((trajectories - fitted[part, None]) / size[..., None]).flatten(2)
        normal[part] = jacobian @ jacobian.mT
        gradient[part] = (jacobian @ misfit[part].flatten(1)[..., None]).squeeze(-1)
    return normal, gradient

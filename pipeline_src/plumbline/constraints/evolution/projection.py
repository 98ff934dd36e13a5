r"""The trajectory nearest to a sample.

The feasible set of an evolution equation is the image of the first state, u = F(v) = (v, S(v), S(S(v)), ...). The nearest
point minimises |F(v) - u|^2 over v. It is found by Levenberg-Marquardt: F is linearised along every grid direction at
once, by forward-mode differentiation through the solver, and each trajectory has its own damping. The minimum is a local
one, that of the basin of the first state.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints.evolution.residual import EvolutionResidual

# Trajectories times tangents that are propagated together: keeps the working set to some tens of megabytes.
TANGENT_BATCH = 2048
ITERATIONS = 12
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
    start, fitted = _stable_start(equation, target[:, 0], x.shape[1] - 1)
    damping = torch.full((len(x),), 1e-3, dtype=torch.float64, device=x.device)
    loss = (fitted - target).square().sum((1, 2))
    for _ in range(iterations):
        normal, gradient = _normal_equations(equation, start, fitted - target)
        scale = normal.diagonal(dim1=1, dim2=2)
        step = torch.linalg.solve(normal + torch.diag_embed(damping[:, None] * scale), gradient)
        trial = start - step
        trial_fitted = equation.propagated(trial, x.shape[1] - 1)
        trial_loss = (trial_fitted - target).square().sum((1, 2))
        better = trial_loss < loss
        start = torch.where(better[:, None], trial, start)
        fitted = torch.where(better[:, None, None], trial_fitted, fitted)
        settled = (loss - trial_loss).abs() <= 1e-10 * loss
        # A trial that blew up has no loss.
        loss = torch.where(better, trial_loss, loss)
        damping = torch.where(better, damping / 10, damping * 10)
        if bool((settled | (damping > 1e6)).all()):
            break
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


def _normal_equations(equation: EvolutionResidual, start: Tensor, misfit: Tensor) -> tuple[Tensor, Tensor]:
    """J^T J (B, X, X) and J^T misfit (B, X), J the derivative of the trajectory by its first state."""
    points = start.shape[-1]
    normal = start.new_empty(len(start), points, points)
    gradient = start.new_empty(len(start), points)
    directions = torch.eye(points, dtype=start.dtype, device=start.device)
    for part in torch.arange(len(start)).split(max(1, TANGENT_BATCH // points)):
        states = start[part].repeat_interleave(points, 0)
        tangents = directions.repeat(len(part), 1)
        derivative = torch.func.jvp(
            lambda v: equation.propagated(v, misfit.shape[1] - 1), (states,), (tangents,)
        )[1]
        jacobian = derivative.reshape(len(part), points, -1)
        normal[part] = jacobian @ jacobian.mT
        gradient[part] = (jacobian @ misfit[part].flatten(1)[..., None]).squeeze(-1)
    return normal, gradient

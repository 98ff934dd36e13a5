"""L-BFGS for a batch of independent problems, each with its own memory and step length."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Share of the slope by which a step must lower the loss (Armijo).
SUFFICIENT = 1e-4
# A new step length is at least and at most these fractions of the one that failed.
SHORTEST, LONGEST = 0.1, 0.5
# Curvature of a step, relative to the lengths of step and change of the gradient, below which it is not used.
LEAST_CURVATURE = 1e-8
# Loss, relative to that of the start, at which a point stops: a residual of single precision.
SOLVED = 1e-12

Loss = Callable[[Tensor], tuple[Tensor, Tensor]]
"""A function of points (B, n) that returns losses (B,) and their gradients (B, n)."""


@dataclass
class Step:
    """A past step s (B, n), the change y of the gradient (B, n), and 1 / s.y (B,), zero if not used."""

    s: Tensor
    y: Tensor
    inverse: Tensor


def minimised(
    loss: Loss, start: Float[Tensor, "B n"], *, iterations: int, memory: int, trials: int
) -> Float[Tensor, "B n"]:
    """Lowers the loss of each point, by L-BFGS with a backtracking line search.

    Args:
        loss: the losses and gradients of points.
        start: where to start.
        iterations: largest number of steps.
        memory: number of past steps that the curvature is estimated from.
        trials: largest number of step lengths in a step.

    Returns:
        Points whose losses are not higher than those of `start`. A point whose loss falls for none of the
        step lengths stays, and so does one whose loss is solved, or not finite.
    """
    points, (values, gradients) = start, loss(start)
    steps: deque[Step] = deque(maxlen=memory)
    solved = SOLVED * values
    active = torch.isfinite(values) & (values > solved)
    # The first step has length one: the gradient says nothing of the distance.
    length = gradients.norm(dim=1).clamp(min=torch.finfo(start.dtype).tiny).reciprocal()
    for _ in range(iterations):
        directions = -_curved(gradients, steps)
        slopes = (directions * gradients).sum(1)
        uphill = ~(slopes < 0)
        directions = torch.where(uphill[:, None], -gradients, directions)
        slopes = torch.where(uphill, -gradients.square().sum(1), slopes)
        moved, found, changed, lower = _search(
            loss, points, values, directions, slopes, length, active=active, trials=trials
        )
        accepted = lower[:, None]
        s = torch.where(accepted, moved - points, 0.0)
        y = torch.where(accepted, changed - gradients, 0.0)
        curvature = (s * y).sum(1)
        used = curvature > LEAST_CURVATURE * s.norm(dim=1) * y.norm(dim=1)
        inverse = torch.where(used, 1 / torch.where(used, curvature, 1.0), 0.0)
        steps.append(Step(s, y, inverse))
        points = torch.where(accepted, moved, points)
        values = torch.where(lower, found, values)
        gradients = torch.where(accepted, changed, gradients)
        active = active & lower & (values > solved)
        length = torch.ones_like(values)
        if not bool(active.any()):
            break
    return points


def _curved(gradients: Float[Tensor, "B n"], steps: deque[Step]) -> Float[Tensor, "B n"]:
    """The inverse of the estimated Hessian times the gradients, by the two-loop recursion."""
    q, weights = gradients, []
    for step in reversed(steps):
        weight = step.inverse * (step.s * q).sum(1)
        weights.append(weight)
        q = q - weight[:, None] * step.y
    scale = torch.ones_like(gradients[:, 0])
    for step in steps:  # the last step that is used decides
        latest = 1 / (step.inverse * step.y.square().sum(1)).clamp(min=torch.finfo(q.dtype).tiny)
        scale = torch.where(step.inverse > 0, latest, scale)
    q = scale[:, None] * q
    for step, weight in zip(steps, reversed(weights), strict=True):
        q = q + (weight - step.inverse * (step.y * q).sum(1))[:, None] * step.s
    return q


def _search(
    loss: Loss,
    points: Float[Tensor, "B n"],
    values: Float[Tensor, " B"],
    directions: Float[Tensor, "B n"],
    slopes: Float[Tensor, " B"],
    length: Float[Tensor, " B"],
    *,
    active: Bool[Tensor, " B"],
    trials: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The points, losses and gradients after a step, and whether it lowers the loss enough (B,)."""
    moved, found, changed = points, values, torch.zeros_like(points)
    lower = torch.zeros_like(active)
    for _ in range(trials):
        tried = points + torch.where(active & ~lower, length, 0.0)[:, None] * directions
        there, gradients = loss(tried)
        enough = there <= values + SUFFICIENT * length * slopes
        new = active & ~lower & enough & torch.isfinite(gradients).all(1)
        moved = torch.where(new[:, None], tried, moved)
        found = torch.where(new, there, found)
        changed = torch.where(new[:, None], gradients, changed)
        lower = lower | new
        if not bool((active & ~lower).any()):
            break
        excess = there - values - length * slopes
        fitted = -slopes * length / (2 * excess)
        length = length * torch.where(torch.isfinite(fitted), fitted, SHORTEST).clamp(SHORTEST, LONGEST)
    return moved, found, changed, lower

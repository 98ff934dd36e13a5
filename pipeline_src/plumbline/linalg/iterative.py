r"""Conjugate gradients for batches of symmetric, positive semidefinite systems.

Each system has its own step lengths and stopping time, while the operator is applied to the whole batch. If a
system is singular but consistent, the iterates stay in the range of the operator and converge as usual.

Source: Nocedal and Wright, Numerical Optimization, 2nd edition, chapter 5,
https://doi.org/10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Curvature, relative to the largest so far, below which a direction counts as part of the null space.
NO_CURVATURE = 1e-14


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    target: Float[Tensor, "*B m"],
    *,
    tolerance: float,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "*B m"], Bool[Tensor, "*B"]]:
    """Solves G y = r for a batch of right-hand sides.

    Args:
        apply: the map y -> G y, for y (*B, m).
        target: r.
        tolerance: relative residual |G y - r| / |r| at which a system counts as solved.
        iterations: maximum number of iterations.
        precondition: the map y -> M y, where M is symmetric, positive definite and close to the inverse of G;
            None for the identity.

    Returns:
        The solutions y, and whether each of them is solved to the tolerance.
    """
    solution = torch.zeros_like(target)
    residual = target
    preconditioned = residual if precondition is None else precondition(residual)
    direction = preconditioned
    product = (residual * preconditioned).sum(-1)
    wanted = tolerance**2 * residual.square().sum(-1)
    unsolved = residual.square().sum(-1) > wanted
    largest = torch.zeros_like(product)
    live = unsolved
    for _ in range(iterations):
        if not bool(live.any()):
            break
        image = apply(direction)
        curvature = (direction * image).sum(-1)
        relative = curvature / direction.square().sum(-1).clamp(min=torch.finfo(target.dtype).tiny)
        largest = torch.maximum(largest, relative)
        live = live & (relative > NO_CURVATURE * largest)
        length = torch.where(live, product / torch.where(live, curvature, 1.0), 0.0)[..., None]
        solution = solution + length * direction
        residual = residual - length * image
        preconditioned = residual if precondition is None else precondition(residual)
        before, product = product, (residual * preconditioned).sum(-1)
        unsolved = residual.square().sum(-1) > wanted
        live = live & unsolved
        onward = torch.where(live, product / torch.where(live, before, 1.0), 0.0)[..., None]
        direction = preconditioned + onward * direction
    return solution, ~unsolved

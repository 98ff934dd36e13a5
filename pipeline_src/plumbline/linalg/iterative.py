r"""Conjugate gradients for batches of symmetric, positive semidefinite systems.

Each system has its own step lengths and stops by itself; the operator is applied to the whole batch. For
consistent singular systems the iteration stays in the range of the operator, where it converges as for the
others.

Source: Nocedal and Wright, Numerical Optimization, 2nd edition, chapter 5,
    https://doi.org/10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Curvature along a direction, over the largest so far, under which the direction is one of the null space.
NO_CURVATURE = 1e-14


def conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    target: Float[Tensor, "*B m"],
    *,
    tolerance: float,
    iterations: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Float[Tensor, "*B m"], Bool[Tensor, "*B"]]:
    """The solutions y of G y = r.

    Args:
        apply: y -> G y for (*B, m).
        target: r.
        tolerance: |G y - r| / |r| at which a system counts as solved.
        iterations: most iterations.
        precondition: y -> M y, for a symmetric, positive M near to the inverse of G; None for the identity.

    Returns:
        The solutions, and which of them are solved to the tolerance.
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
        share = torch.where(live, product / torch.where(live, before, 1.0), 0.0)[..., None]
        direction = preconditioned + share * direction
    return solution, ~unsolved

r"""Mean and variance of truncated normal variables.

For x ~ N(m, s^2) given l <= x <= u, let a = (l - m) / s, b = (u - m) / s, and let p be the point of [a, b]
nearest to zero, where the density of (x - m) / s is largest. With (x - m) / s = p + v,

    density(v) ~ exp(-p v - v^2 / 2),    a - p <= v <= b - p,
    mean = m + s (p + E v),    variance = s^2 E (v - E v)^2.

The usual formulas, such as mean = m + s (phi(a) - phi(b)) / (Phi(b) - Phi(a)), lose all digits in the tails
and between close bounds: both differences cancel, and the variance is a small difference of large numbers.
Here the moments are integrals of smooth, positive functions, computed by Gauss-Legendre quadrature with
`NODES` nodes. The integrals are cut off where the density has decreased by a factor of exp(-`FALL`). There is
no cancellation at any distance from the bounds, and the same rule serves all cases. The moments are
differentiable.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# 40 nodes suffice to integrate normal and exponential densities down to exp(-FALL) to rounding error.
NODES, FALL = 48, 42.0
# Number of variables integrated at once.
TOGETHER = 2**13


def truncated_moments(
    mean: Float[Tensor, "*B"],
    variance: Float[Tensor, "*B"],
    lower: Float[Tensor, "*B"],
    upper: Float[Tensor, "*B"],
) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"]]:
    """Mean and variance of N(mean, variance) given lower <= x <= upper, in double precision.

    Args:
        mean: m, (*B,).
        variance: s^2, (*B,), at least zero; for zero variance, the mean is clamped to the bounds.
        lower: l, (*B,), may be minus infinity.
        upper: u, (*B,), at least l, may be infinity.

    Returns:
        The mean (*B,) and the variance (*B,).

    Example:
        >>> import torch
        >>> zero, one = torch.zeros(1).double(), torch.ones(1).double()
        >>> mean, variance = truncated_moments(-1000 * one, one, zero, torch.inf * one)
        >>> print(f"{float(mean):.6e} {float(variance):.6e}")
        9.999980e-04 9.999940e-07
    """
    parts = [
        _moments(*part)
        for part in zip(
            *(values.double().reshape(-1).split(TOGETHER) for values in (mean, variance, lower, upper)),
            strict=True,
        )
    ]
    means, variances = (torch.cat(found).view(mean.shape) for found in zip(*parts, strict=True))
    return means, variances


def _moments(mean: Tensor, variance: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    free = variance > 0
    std = torch.where(free, variance, 1.0).sqrt()
    mode = torch.minimum(torch.maximum(mean, lower), upper)
    peak = (mode - mean) / std
    # The distance v at which exp(-|p| v - v^2 / 2) equals exp(-FALL); it limits the integral on both sides.
    reach = 2 * FALL / (peak.abs() + (peak.square() + 2 * FALL).sqrt())
    first = torch.maximum((lower - mode) / std, -reach)
    last = torch.minimum((upper - mode) / std, reach)
    nodes, weights = (torch.as_tensor(values).to(mean) for values in _rule())
    half = ((last - first) / 2)[:, None]
    v = first[:, None] + half * (1 + nodes)
    mass = weights * torch.exp(-peak[:, None] * v - v.square() / 2)
    total = mass.sum(1)
    moved = (mass * v).sum(1) / total
    spread = (mass * (v - moved[:, None]).square()).sum(1) / total
    found = torch.minimum(torch.maximum(mode + std * moved, lower), upper)
    return torch.where(free, found, mode), torch.where(free, variance * spread, 0.0)


@cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(NODES)

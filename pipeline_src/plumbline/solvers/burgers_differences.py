r"""Viscous Burgers' equation on a periodic grid, by central differences and explicit Euler steps.

    u_i <- u_i + h [ -u_i (u_{i+1} - u_{i-1}) / 2 d + nu (u_{i+1} - 2 u_i + u_{i-1}) / d^2 ],

first order in time, second order in space, and not conservative. This solver reproduces the data of Feng,
Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816), whose Crank-Nicolson scheme never iterates
and therefore takes these explicit steps. For any other purpose `plumbline.solvers.burgers` is more accurate
and faster.

The step must be stable: nu h / d^2 <= 1/2 for diffusion, and max|u|^2 h <= 2 nu for advection by central
differences (Hirsch 2007, section 8.3). The first condition is checked; all published settings meet the second
for |u| <= 1.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def steps_between(spacing: float, max_step: float) -> int:
    """Number of equal steps between two states (`spacing` apart in time), none longer than `max_step`."""
    # Rounding may put a quotient such as 0.125 / 0.025 slightly above an integer.
    return math.ceil(spacing / max_step * (1 - 1e-9))


def solve(
    u0: Float[Tensor, "B X"], states: int, every: int, *, step: float, length: float, viscosity: float
) -> Float[Tensor, "B T X"]:
    """Returns `u0` and the next `states` states, `every` steps apart; differentiable in `u0`.

    Args:
        u0: velocities at time zero on a uniform grid (length/time).
        states: number of states after `u0`.
        every: number of steps between two states.
        step: time step (time).
        length: period of the interval (length).
        viscosity: kinematic viscosity (length^2/time).

    Raises:
        ValueError: the step is unstable for diffusion on this grid.
    """
    spacing = length / u0.shape[-1]
    diffusion = viscosity * step / spacing**2
    if diffusion > 0.5:
        raise ValueError(
            f"explicit steps of {step:.3g} are unstable at a grid spacing of {spacing:.3g}: "
            f"viscosity x step / spacing^2 is {diffusion:.3g}, more than 0.5. "
            f"Lower `max_step` to {0.5 * spacing**2 / viscosity:.3g}."
        )
    advection = step / (2 * spacing)
    u, found = u0, [u0]
    for _ in range(states):
        for _ in range(every):
            after, before = u.roll(-1, -1), u.roll(1, -1)
            u = u - advection * u * (after - before) + diffusion * (after - 2 * u + before)
        found.append(u)
    return torch.stack(found, dim=1)

r"""Viscous Burgers' equation by central differences and explicit Euler steps, on a periodic grid.

    u_i <- u_i + h [ -u_i (u_{i+1} - u_{i-1}) / 2 d + nu (u_{i+1} - 2 u_i + u_{i-1}) / d^2 ],

first order in time, second in space, and not conservative. It is here to read and remake the data of Feng, Baptista and
Bouman (ICLR 2025), whose intended Crank-Nicolson scheme never iterates and so takes these steps; for anything else
`plumbline.solvers.burgers` is more exact and faster.

The step must be stable: nu h / d^2 <= 1/2 for diffusion, and max|u|^2 h <= 2 nu for advection by central differences
(Hirsch 2007, section 8.3). The first is checked; the second is met for |u| <= 1 by all published settings.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def steps_between(spacing: float, max_step: float) -> int:
    """Equal steps from one state to the next, none longer than `max_step`."""
    # A quotient such as 0.125 / 0.025 may come out a rounding above its whole number.
    return math.ceil(spacing / max_step * (1 - 1e-9))


def solve(
    u0: Float[Tensor, "B X"], states: int, every: int, *, step: float, length: float, viscosity: float
) -> Float[Tensor, "B T X"]:
    """`u0` and the `states` that follow, `every` steps apart; differentiable in `u0`.

    Args:
        u0: velocities at time zero on a uniform grid (length/time).
        states: how many states follow.
        every: steps from one state to the next.
        step: time step (time).
        length: period of the interval (length).
        viscosity: kinematic viscosity (length^2/time).

    Raises:
        ValueError: a step that is unstable for diffusion on this grid.
    """
    spacing = length / u0.shape[-1]
    diffusion = viscosity * step / spacing**2
    if diffusion > 0.5:
        raise ValueError(
            f"explicit steps of {step:.3g} are unstable at a grid spacing of {spacing:.3g}: viscosity x step / "
            f"spacing^2 is {diffusion:.3g}, more than 0.5. Lower `max_step` to {0.5 * spacing**2 / viscosity:.3g}."
        )
    advection = step / (2 * spacing)
    u, found = u0, [u0]
    for _ in range(states):
        for _ in range(every):
            after, before = u.roll(-1, -1), u.roll(1, -1)
            u = u - advection * u * (after - before) + diffusion * (after - 2 * u + before)
        found.append(u)
    return torch.stack(found, dim=1)

r"""Viscous Burgers' equation on a periodic interval, by a dealiased Fourier method.

    u_t + (u^2 / 2)_x = nu u_xx,    x in [0, length).

With modes u_k, k = 2 pi m / length, the linear part is L = -nu k^2 and the nonlinear term
N_k = -(i k / 2) F[u^2]_k. Products are formed on the grid and only modes under a third of the sampling
frequency are kept (the 2/3 rule), so that the quadratic term has no aliasing error. The kept modes are
the whole state: one inverse and one forward transform an evaluation.

Max |u| never grows (the maximum principle), so that a step that is stable at the start stays stable.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.solvers.exponential import Scheme, System, integrate

# h |k u| of the longest step taken where the caller names none, for an error near 1e-9 on smooth data.
COURANT = 0.5


def retained_modes(points: int) -> int:
    """The number of non-negative modes that the 2/3 rule keeps of a grid of `points`."""
    return (points - 1) // 3 + 1


def solve(
    u0: Float[Tensor, "B X"],
    times: Float[Tensor, " T"],
    *,
    length: float,
    viscosity: float,
    max_step: float | None = None,
    scheme: Scheme | None = None,
) -> Float[Tensor, "B T X"]:
    """Solutions of Burgers' equation at `times`, for a batch of initial conditions, differentiable in them.

    Args:
        u0: velocities at time zero on a uniform grid (length/time), float32 or float64, any device.
        times: instants asked for, increasing, at least zero (time).
        length: period of the interval (length).
        viscosity: kinematic viscosity nu (length^2/time), positive.
        max_step: longest time step; None chooses one for accuracy. A step that would be unstable is
            refined, each trajectory by itself.
        scheme: `etdrk4`, `etdab4` or `cnrk4` (`plumbline.solvers.exponential`). None takes `etdrk4` at a step
            that is given, and `etdab4`, which is faster to the same error, at one of its own choice.

    Returns:
        Velocities on the grid of `u0`. At time zero, `u0` as given; later, its dealiased evolution.

    Raises:
        ValueError: a length or viscosity that is not positive, times that decrease, u0 not finite or not 2-D.
        UnstableSolutionError: no step was found that keeps the solution finite.

    Example:
        >>> import math
        >>> import torch
        >>> from plumbline.solvers import burgers
        >>> x = torch.arange(32, dtype=torch.float64) / 32
        >>> u = burgers.solve(torch.sin(2 * math.pi * x)[None], torch.tensor([0.0, 0.1]), length=1.0, viscosity=0.01)
        >>> u.shape
        torch.Size([1, 2, 32])
    """
    if u0.ndim != 2:
        raise ValueError(f"u0 must have the shape (batch, points), found {tuple(u0.shape)}.")
    if not (length > 0 and viscosity > 0):
        raise ValueError(f"length and viscosity must be positive, found {length} and {viscosity}.")
    points = u0.shape[-1]
    system = burgers_system(points, float(length), float(viscosity), u0.dtype, u0.device)
    modes = torch.fft.rfft(u0, norm="forward")[:, : retained_modes(points)]
    state = torch.view_as_real(modes.contiguous()).flatten(1)
    members = torch.arange(len(u0), device=u0.device)
    solution = integrate(system, state, members, times, courant=COURANT, max_step=max_step, scheme=scheme)
    at_start = torch.as_tensor(times, device=u0.device) == 0
    return torch.where(at_start[None, :, None], u0[:, None, :], solution)


@lru_cache(maxsize=16)
def burgers_system(
    points: int, length: float, viscosity: float, dtype: torch.dtype, device: torch.device
) -> System:
    """The semi-linear system of the retained modes of a grid of `points`."""
    modes = retained_modes(points)
    wavenumber = 2 * math.pi / length * torch.arange(modes, dtype=torch.float64, device=device)
    flux = (-0.5j * wavenumber).to(dtype.to_complex())

    def nonlinear(state: Tensor) -> Tensor:
        u = _on_grid(state, points)
        flux_modes = flux * torch.fft.rfft(u.square(), norm="forward")[..., :modes]
        return torch.view_as_real(flux_modes).flatten(-2)

    def step_limit(state: Tensor) -> Tensor:
        speed = _on_grid(state, points).abs().amax(-1)
        return 1.0 / (wavenumber[-1].to(dtype) * speed).clamp(min=torch.finfo(dtype).tiny)

    linear = (-viscosity * wavenumber**2).repeat_interleave(2)
    return System(linear, nonlinear, step_limit, lambda state: _on_grid(state, points))


def _on_grid(state: Tensor, points: int) -> Tensor:
    modes = torch.view_as_complex(state.unflatten(-1, (-1, 2)))
    return torch.fft.irfft(modes, n=points, norm="forward")

r"""Viscous Burgers' equation on a periodic interval, by a dealiased Fourier method.

    u_t + (u^2 / 2)_x = nu u_xx,    x in [0, length).

With modes u_k, k = 2 pi m / length, the linear part is L = -nu k^2 and the nonlinear term
N_k = -(i k / 2) F[u^2]_k. Products are formed on the grid, and only modes below a third of the sampling
frequency are retained (the 2/3 rule), so that the quadratic term has no aliasing error. The retained modes
are the whole state. An evaluation takes one inverse and one forward transform.

By the maximum principle, max |u| never grows: a step that is stable at the start stays stable.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.solvers._compiled import CompiledSystem, lanes, roots_of_unity, usable
from plumbline.solvers.exponential import Scheme, System, TorchSystem, integrate

# The largest h |k u| of a step if the caller gives no `max_step`, for an error near 1e-9 on smooth data.
COURANT = 0.5


def retained_modes(points: int) -> int:
    """The number of non-negative modes that the 2/3 rule retains on a grid of `points`."""
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
    """Solves Burgers' equation for a batch of initial conditions; differentiable in them.

    Args:
        u0: velocities at time zero on a uniform grid (length/time), float32 or float64, on any device.
        times: output times, increasing, at least zero (time).
        length: period of the interval (length).
        viscosity: kinematic viscosity nu (length^2/time), positive.
        max_step: longest time step (time); None chooses one for accuracy. An unstable step is refined, for
            each trajectory separately.
        scheme: `etdrk4`, `etdab4` or `cnrk4` (see `plumbline.solvers.exponential`). None selects `etdrk4` if
            `max_step` is given, and otherwise `etdab4`, which reaches the same error faster.

    Returns:
        Velocities at `times` on the grid of `u0`. At time zero they are `u0` itself; later, its dealiased
        evolution.

    Raises:
        ValueError: the length or viscosity is not positive, the times decrease, or `u0` is not finite or not
            two-dimensional.
        UnstableSolutionError: the solution is not finite even at the finest step allowed.

    Example:
        >>> import math
        >>> import torch
        >>> from plumbline.solvers import burgers
        >>> x = torch.arange(32, dtype=torch.float64) / 32
        >>> u0, times = torch.sin(2 * math.pi * x)[None], torch.tensor([0.0, 0.1])
        >>> u = burgers.solve(u0, times, length=1.0, viscosity=0.01)
        >>> u.shape
        torch.Size([1, 2, 32])
    """
    if u0.ndim != 2:
        raise ValueError(f"u0 must have the shape (batch, points), found {tuple(u0.shape)}.")
    if not (length > 0 and viscosity > 0):
        raise ValueError(f"length and viscosity must be positive, found {length} and {viscosity}.")
    points = u0.shape[-1]
    modes = torch.fft.rfft(u0, norm="forward")[:, : retained_modes(points)]
    state = torch.view_as_real(modes.contiguous()).flatten(1)
    system: System
    if points % 2 == 0 and usable(u0, points // 2):
        system = compiled_system(points, float(length), float(viscosity), u0.dtype)
        state = _in_blocks(state)
    else:
        system = burgers_system(points, float(length), float(viscosity), u0.dtype, u0.device)
    members = torch.arange(len(u0), device=u0.device)
    solution = integrate(system, state, members, times, courant=COURANT, max_step=max_step, scheme=scheme)
    at_start = torch.as_tensor(times, device=u0.device) == 0
    return torch.where(at_start[None, :, None], u0[:, None, :], solution)


@lru_cache(maxsize=16)
def burgers_system(
    points: int, length: float, viscosity: float, dtype: torch.dtype, device: torch.device
) -> TorchSystem:
    """The semi-linear system of the retained modes of a grid of `points`."""
    modes = retained_modes(points)
    wavenumber = 2 * math.pi / length * torch.arange(modes, dtype=torch.float64, device=device)
    flux = (-0.5j * wavenumber).to(dtype.to_complex())

    def nonlinear(state: Tensor) -> Tensor:
        u = _on_grid(state, points)
        flux_modes = flux * torch.fft.rfft(u.square(), norm="forward")[..., :modes]
        return torch.view_as_real(flux_modes).flatten(-2)

    return TorchSystem(
        linear=(-viscosity * wavenumber**2).repeat_interleave(2),
        nonlinear=nonlinear,
        step_limit=lambda state: _step_limit(state, points, length),
        to_grid=lambda state: _on_grid(state, points),
    )


@lru_cache(maxsize=16)
def compiled_system(points: int, length: float, viscosity: float, dtype: torch.dtype) -> CompiledSystem:
    """The same system in compiled steps, for an even number of points, with `lanes` trajectories per unit."""
    modes = retained_modes(points)
    wavenumber = 2 * math.pi / length * torch.arange(modes, dtype=torch.float64)
    return CompiledSystem(
        linear=(-viscosity * wavenumber**2)[:, None].expand(-1, lanes(dtype)),
        step_limit=lambda state: _step_limit(_from_blocks(state), points, length),
        to_grid=lambda state: _on_grid(_from_blocks(state), points),
        select=lambda state, mask: _in_blocks(_from_blocks(state)[: len(mask)][mask]),
        function="burgers",
        sizes=(points, modes),
        constants=((-wavenumber / (4 * points)).to(dtype), roots_of_unity(points, dtype)),
        work=(points + 1 + 2 * modes) * 2 * lanes(dtype),
    )


def _in_blocks(state: Tensor) -> Tensor:
    """States (B, 2 modes) as (blocks, modes, 2, lanes), filled up with trajectories of zeros."""
    width = lanes(state.dtype)
    padded = torch.nn.functional.pad(state, (0, 0, 0, -len(state) % width))
    return padded.unflatten(0, (-1, width)).transpose(1, 2).unflatten(1, (-1, 2)).contiguous()


def _from_blocks(state: Tensor) -> Tensor:
    return state.flatten(1, 2).transpose(1, 2).contiguous().flatten(0, 1)


def _step_limit(state: Tensor, points: int, length: float) -> Tensor:
    speed = _on_grid(state, points).abs().amax(-1)
    highest = 2 * math.pi / length * (retained_modes(points) - 1)
    return 1.0 / (highest * speed).clamp(min=torch.finfo(state.dtype).tiny)


def _on_grid(state: Tensor, points: int) -> Tensor:
    modes = torch.view_as_complex(state.unflatten(-1, (-1, 2)))
    return torch.fft.irfft(modes, n=points, norm="forward")

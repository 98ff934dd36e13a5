r"""Two-dimensional Kolmogorov flow on a periodic square, in vorticity form, by a dealiased Fourier method.

    w_t + u . grad w = nu lap w - mu w + curl f,    f = A sin(2 pi n y / length) e_x,

with vorticity w = v_x - u_y, stream function -lap psi = w, velocity u = psi_y, v = -psi_x, linear drag mu
and forcing of amplitude A and wavenumber n (waves in a side). The Reynolds number of the literature is
1/nu on a side of 2 pi. The first grid axis is x, the second y.

Four transforms an evaluation instead of the textbook's five: as div u = 0, advection is the curl of the
divergence of the velocity products,

    u . grad w = (d_xx - d_yy)(u v) + d_xy (v^2 - u^2),

so that two inverse transforms give (u, v) and two forward ones bring back uv and v^2 - u^2. Only modes
under a third of the sampling frequency are kept (the 2/3 rule); the columns that it drops are never
transformed along x. The state is laid out (ky, kx), so that the passes along x run on contiguous memory.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.solvers.burgers import retained_modes
from plumbline.solvers.exponential import Scheme, System, integrate

# h |k u| of the longest step taken where the caller names none.
COURANT = 0.5


def solve(
    vorticity0: Float[Tensor, "B X Y"],
    times: Float[Tensor, " T"],
    *,
    length: float,
    viscosity: float,
    drag: float,
    forcing_amplitude: float,
    forcing_wavenumber: int,
    max_step: float | None = None,
    scheme: Scheme = "etdrk4",
) -> Float[Tensor, "B T X Y"]:
    """Vorticities at `times`, for a batch of initial vorticities, differentiable in them.

    Args:
        vorticity0: vorticities at time zero on a uniform square grid (1/time); their mean is dropped.
        times: instants asked for, increasing, at least zero (time).
        length: side of the square (length).
        viscosity: kinematic viscosity (length^2/time), positive.
        drag: linear drag (1/time), at least zero.
        forcing_amplitude: amplitude of the body force (length/time^2).
        forcing_wavenumber: waves of the body force in a side.
        max_step: longest time step; None chooses one for accuracy. A step that would be unstable is
            refined, each trajectory by itself.
        scheme: `etdrk4`, `etdab4` or `cnrk4` (`plumbline.solvers.exponential`).

    Returns:
        Vorticities on the grid given. At time zero, as given; later, the dealiased evolution.

    Raises:
        ValueError: a grid that is not square, a parameter out of its range, times that decrease, a
            vorticity that is not finite.
        UnstableSolutionError: no step was found that keeps the solution finite.
    """
    if vorticity0.ndim != 3 or vorticity0.shape[1] != vorticity0.shape[2]:
        raise ValueError(f"vorticity0 must have the shape (batch, n, n), found {tuple(vorticity0.shape)}.")
    points = vorticity0.shape[-1]
    if not (length > 0 and viscosity > 0 and drag >= 0):
        raise ValueError(
            f"length and viscosity must be positive and drag at least zero, found {length}, {viscosity}, {drag}."
        )
    if forcing_amplitude and not 1 <= forcing_wavenumber < retained_modes(points):
        raise ValueError(
            f"forcing_wavenumber must be from 1 to {retained_modes(points) - 1} on a grid of {points} points, "
            f"found {forcing_wavenumber}."
        )
    system = kolmogorov_system(
        points,
        float(length),
        float(viscosity),
        float(drag),
        float(forcing_amplitude),
        int(forcing_wavenumber),
        vorticity0.dtype,
        vorticity0.device,
    )
    states = integrate(system, to_modes(vorticity0), times, courant=COURANT, max_step=max_step, scheme=scheme)
    solution = to_grid(states, points).movedim(0, 1)
    at_start = torch.as_tensor(times, device=vorticity0.device) == 0
    return torch.where(at_start[None, :, None, None], vorticity0[:, None], solution)


def velocity(vorticity: Float[Tensor, "*B X Y"], *, length: float) -> Float[Tensor, "*B 2 X Y"]:
    """The divergence-free velocity (u, v) of zero mean whose vorticity is given (length/time).

    Solves -lap psi = w in Fourier space. Modes at the sampling limit have no derivative on the grid and
    are dropped.
    """
    points = vorticity.shape[-1]
    ky, kx = _wavenumbers(points, length, points // 2 + points % 2, vorticity.device)
    inverse_square = torch.where(kx**2 + ky**2 > 0, 1 / (kx**2 + ky**2), 0.0)
    modes = torch.fft.rfft2(vorticity).transpose(-1, -2)[..., : ky.shape[0], :]
    keep = kx.abs() < math.pi * points / length * (1 - 1e-9)
    complex_dtype = vorticity.dtype.to_complex()
    from_vorticity = torch.stack([1j * ky * inverse_square * keep, -1j * kx * inverse_square * keep])
    components = modes[..., None, :, :] * from_vorticity.to(complex_dtype)
    return torch.fft.irfft2(components.transpose(-1, -2), s=(points, points))


def _wavenumbers(points: int, length: float, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    unit = 2 * math.pi / length
    ky = unit * torch.arange(rows, dtype=torch.float64, device=device)[:, None]
    kx = unit * torch.fft.fftfreq(points, 1 / points, dtype=torch.float64, device=device)[None, :]
    return ky, kx


@lru_cache(maxsize=16)
def kolmogorov_system(
    points: int,
    length: float,
    viscosity: float,
    drag: float,
    forcing_amplitude: float,
    forcing_wavenumber: int,
    dtype: torch.dtype,
    device: torch.device,
) -> System:
    """The semi-linear system of the retained modes of a square grid."""
    rows = retained_modes(points)
    ky, kx = _wavenumbers(points, length, rows, device)
    square = kx**2 + ky**2
    kept = (kx.abs() <= ky[-1]).double()
    inverse_square = torch.where(square > 0, 1 / square, 0.0) * kept
    to_velocity = torch.stack([1j * ky * inverse_square, -1j * kx * inverse_square])
    to_velocity = to_velocity[:, None].to(dtype.to_complex())
    # advection = -(kx^2 - ky^2) F[uv] - kx ky F[v^2 - u^2] in Fourier space, and N is its negative.
    shear = ((kx**2 - ky**2) * kept).to(dtype).repeat_interleave(2, -1)
    strain = (kx * ky * kept).to(dtype).repeat_interleave(2, -1)
    forcing = torch.zeros(rows, points, 2, dtype=torch.float64, device=device)
    if forcing_amplitude:
        # curl f = -A k cos(k y): modes +-n of half that, of which the half-plane ky >= 0 stores one.
        wavenumber = 2 * math.pi / length * forcing_wavenumber
        forcing[forcing_wavenumber, 0, 0] = -0.5 * forcing_amplitude * wavenumber
    forcing = forcing.flatten(1).to(dtype)

    def velocities(state: Tensor) -> Tensor:
        modes = torch.view_as_complex(state.unflatten(-1, (-1, 2)))
        columns = torch.fft.ifft(to_velocity * modes, dim=-1, norm="forward")
        return torch.fft.irfft(columns.transpose(-1, -2), n=points, dim=-1, norm="forward")

    def nonlinear(state: Tensor) -> Tensor:
        u, v = velocities(state)
        products = torch.stack([u * v, v.square() - u.square()])
        columns = torch.fft.rfft(products, dim=-1, norm="forward")[..., :rows].transpose(-1, -2)
        modes = torch.fft.fft(columns, dim=-1, norm="forward")
        mixed, normal = torch.view_as_real(modes).flatten(-2)
        return torch.addcmul(torch.addcmul(forcing, shear, mixed), strain, normal)

    def step_limit(state: Tensor) -> Tensor:
        u, v = velocities(state)
        rate = ky[-1, 0].to(dtype) * (u.abs() + v.abs()).amax((-2, -1))
        return 1.0 / rate.clamp(min=torch.finfo(dtype).tiny)

    linear = ((-viscosity * square - drag) * kept).repeat_interleave(2, -1)
    return System(linear, nonlinear, step_limit)


def to_modes(field: Float[Tensor, "*B X Y"]) -> Float[Tensor, "*B K X2"]:
    """The retained modes of a field, (ky, kx) with interleaved parts; the mean is dropped."""
    points = field.shape[-1]
    rows = retained_modes(points)
    modes = torch.fft.rfft2(field, norm="forward")[..., :rows].transpose(-1, -2)
    kept = torch.fft.fftfreq(points, 1 / points, device=field.device).abs() < rows
    mask = kept.expand(rows, points).clone()
    mask[0, 0] = False
    return torch.view_as_real((modes * mask).contiguous()).flatten(-2)


def to_grid(state: Float[Tensor, "*B K X2"], points: int) -> Float[Tensor, "*B X Y"]:
    """The field whose retained modes are given."""
    modes = torch.view_as_complex(state.unflatten(-1, (-1, 2))).transpose(-1, -2)
    return torch.fft.irfft2(modes, s=(points, points), norm="forward")

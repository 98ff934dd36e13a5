r"""Two-dimensional Kolmogorov flow on a periodic square, in vorticity form, by a dealiased Fourier method.

    w_t + u . grad w = nu lap w - mu w + curl f,    f = A sin(2 pi n y / length) e_x,

with vorticity w = v_x - u_y, stream function -lap psi = w, velocity u = psi_y, v = -psi_x, linear drag mu
and forcing of amplitude A and wavenumber n (waves per side). The literature's Reynolds number is 1/nu on a
side of 2 pi. The first grid axis is x, the second y.

On the CPU and without gradients, `solve` takes compiled steps (see `steps.c`). Elsewhere it takes them in
torch, where three measures make them fast:

- An evaluation takes four transforms instead of the usual five. Since div u = 0, advection is the curl of the
  divergence of the velocity products,

      u . grad w = (d_xx - d_yy)(u v) + d_xy (v^2 - u^2),

  so that two inverse transforms give (u, v) and two forward transforms return uv and v^2 - u^2 to Fourier
  space.
- Two trajectories share one complex transform, w_a + i w_b. All operations in Fourier space are linear, and
  products on the grid are formed separately for real and imaginary parts, so that the two trajectories mix by
  rounding alone. Complex transforms of contiguous rows are several times faster here than real transforms.
- Only modes below a third of the sampling frequency are retained (the 2/3 rule), and the rows ky that this
  rule drops are never transformed along x. The state has the layout (ky, kx), with kx contiguous.

Since rounding errors of the larger of two trajectories affect the smaller one, trajectories of similar size
are paired.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.solvers._compiled import CompiledSystem, lanes, roots_of_unity, usable
from plumbline.solvers.burgers import retained_modes
from plumbline.solvers.exponential import Scheme, System, TorchSystem, integrate

# The largest h |k u| of a step if the caller gives no `max_step`.
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
    scheme: Scheme | None = None,
) -> Float[Tensor, "B T X Y"]:
    """Solves for a batch of initial vorticities; differentiable in them.

    Args:
        vorticity0: vorticities at time zero on a uniform square grid (1/time); their mean is removed.
        times: output times, increasing, at least zero (time).
        length: side of the square (length).
        viscosity: kinematic viscosity (length^2/time), positive.
        drag: linear drag (1/time), at least zero.
        forcing_amplitude: amplitude of the body force (length/time^2).
        forcing_wavenumber: waves of the body force per side.
        max_step: longest time step (time); None chooses one for accuracy. An unstable step is refined, for
            each trajectory separately.
        scheme: `etdrk4`, `etdab4` or `cnrk4` (see `plumbline.solvers.exponential`). None selects `etdrk4` if
            `max_step` is given, and otherwise `etdab4`, which reaches the same error faster.

    Returns:
        Vorticities at `times` on the grid of `vorticity0`. At time zero they are `vorticity0` itself; later,
        its dealiased evolution.

    Raises:
        ValueError: the grid is not square, a parameter is out of its range, the times decrease, or a
            vorticity is not finite.
        UnstableSolutionError: the solution is not finite even at the finest step allowed.
    """
    if vorticity0.ndim != 3 or vorticity0.shape[1] != vorticity0.shape[2]:
        raise ValueError(f"vorticity0 must have the shape (batch, n, n), found {tuple(vorticity0.shape)}.")
    points = vorticity0.shape[-1]
    if not (length > 0 and viscosity > 0 and drag >= 0):
        raise ValueError(
            f"length and viscosity must be positive and drag at least zero, "
            f"found {length}, {viscosity} and {drag}."
        )
    if forcing_amplitude and not 1 <= forcing_wavenumber < retained_modes(points):
        raise ValueError(
            f"forcing_wavenumber must be between 1 and {retained_modes(points) - 1} on a grid of {points} "
            f"points, found {forcing_wavenumber}."
        )
    parameters = (
        float(length), float(viscosity), float(drag), float(forcing_amplitude), int(forcing_wavenumber)
    )  # fmt: skip
    system: System
    if usable(vorticity0, points):
        system = compiled_system(points, *parameters, vorticity0.dtype)
        members = torch.arange(len(vorticity0))
        state = pack_columns(vorticity0)
    else:
        system = kolmogorov_system(points, *parameters, vorticity0.dtype, vorticity0.device)
        # Trajectories of similar size are paired: see the module docstring.
        members = vorticity0.detach().flatten(1).norm(dim=1).argsort()
        state = pack(vorticity0[members])
    solution = integrate(system, state, members, times, courant=COURANT, max_step=max_step, scheme=scheme)
    at_start = torch.as_tensor(times, device=vorticity0.device) == 0
    return torch.where(at_start[None, :, None, None], vorticity0[:, None], solution)


def velocity(vorticity: Float[Tensor, "*B X Y"], *, length: float) -> Float[Tensor, "*B 2 X Y"]:
    """The divergence-free velocity (u, v) of zero mean with the given vorticity (length/time).

    Solves -lap psi = w in Fourier space. Modes at the Nyquist frequency have no derivative on the grid and
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


def vorticity(velocity: Float[Tensor, "*B 2 X Y"], *, length: float) -> Float[Tensor, "*B X Y"]:
    """The vorticity v_x - u_y of a velocity (u, v), in 1/time, by Fourier derivatives; inverts `velocity`."""
    points = velocity.shape[-1]
    ky, kx = _wavenumbers(points, length, points // 2 + 1, velocity.device)
    u, v = torch.fft.rfft2(velocity).transpose(-1, -2).unbind(-3)
    modes = (1j * kx).to(u.dtype) * v - (1j * ky).to(u.dtype) * u
    return torch.fft.irfft2(modes.transpose(-1, -2), s=(points, points))


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
) -> TorchSystem:
    """The semi-linear system for the retained modes of pairs of trajectories on a square grid."""
    half = retained_modes(points)
    ky, kx = _wavenumbers(points, length, half, device)
    ky = torch.cat([ky, -ky[1:].flip(0)])
    square = kx**2 + ky**2
    kept = (kx.abs() <= ky.max()).double()
    inverse_square = torch.where(square > 0, 1 / square, 0.0) * kept
    to_velocity = torch.stack([1j * ky * inverse_square, -1j * kx * inverse_square])
    to_velocity = to_velocity[:, None].to(dtype.to_complex())
    # N = curl f - advection. In Fourier space, -(d_xx - d_yy) is kx^2 - ky^2 and -d_xy is kx ky.
    shear = ((kx**2 - ky**2) * kept / points**2).to(dtype).repeat_interleave(2, -1)
    strain = (kx * ky * kept / points**2).to(dtype).repeat_interleave(2, -1)
    forcing = torch.zeros(*square.shape, 2, dtype=torch.float64, device=device)
    if forcing_amplitude:
        # curl f = -A k cos(k y) for both trajectories of a pair: (1 + i) times its modes at +-k.
        amplitude = -forcing_amplitude * 2 * math.pi / length * forcing_wavenumber
        forcing[[forcing_wavenumber, -forcing_wavenumber], 0, :] = amplitude / 2
    forcing = forcing.flatten(1).to(dtype)

    def velocities(state: Tensor) -> tuple[Tensor, Tensor]:
        u, v = torch.view_as_real(_rows_to_grid(to_velocity * _complex(state), points))
        return u, v

    def nonlinear(state: Tensor) -> Tensor:
        u, v = velocities(state)
        mixed = _grid_to_rows(u * v, half)
        normal = _grid_to_rows(torch.addcmul(v * v, u, u, value=-1), half)
        return torch.addcmul(torch.addcmul(forcing, shear, mixed), strain, normal)

    def step_limit(state: Tensor) -> Tensor:
        u, v = velocities(state)
        rate = ky.max().to(dtype) * (u.abs() + v.abs()).amax((-3, -2)).flatten()
        return 1.0 / rate.clamp(min=torch.finfo(dtype).tiny)

    def on_grid(state: Tensor) -> Tensor:
        return unpack(state, points)

    def select(state: Tensor, mask: Tensor) -> Tensor:
        return pack(on_grid(state)[: len(mask)][mask])

    linear = ((-viscosity * square - drag) * kept).repeat_interleave(2, -1)
    return TorchSystem(
        linear=linear, nonlinear=nonlinear, step_limit=step_limit, to_grid=on_grid, select=select
    )


def pack(field: Float[Tensor, "B X X"]) -> Float[Tensor, "P K X2"]:
    """Retained modes of pairs of fields, a + i b, in the layout (ky, kx), without their means.

    A batch of odd size is padded with a field of zeros.
    """
    points = field.shape[-1]
    half = retained_modes(points)
    if len(field) % 2:
        field = torch.cat([field, torch.zeros_like(field[:1])])
    pairs = torch.stack([field[0::2], field[1::2]], dim=-1).contiguous()
    modes = _complex(_grid_to_rows(pairs, half)) / points**2
    kept = torch.fft.fftfreq(points, 1 / points, device=field.device).abs() < half
    mask = kept.expand(modes.shape[-2], points).clone()
    mask[0, 0] = False
    return torch.view_as_real(modes * mask).flatten(-2)


def unpack(state: Float[Tensor, "P K X2"], points: int) -> Float[Tensor, "B X X"]:
    """The fields of a packed state, including the padding of an odd batch."""
    pairs = torch.view_as_real(_rows_to_grid(_complex(state), points))
    return pairs.movedim(-1, 1).flatten(0, 1)


@lru_cache(maxsize=16)
def compiled_system(
    points: int,
    length: float,
    viscosity: float,
    drag: float,
    forcing_amplitude: float,
    forcing_wavenumber: int,
    dtype: torch.dtype,
) -> CompiledSystem:
    """The same system in compiled steps, one trajectory per unit (see `pack_columns`)."""
    half, width, unit = retained_modes(points), lanes(dtype), 2 * math.pi / length
    columns, kept = _columns(points, width)
    kx = unit * columns.double()
    square = kx[:, None] ** 2 + (unit * torch.arange(half, dtype=torch.float64)[:, None]) ** 2
    inverse_square = torch.where(square > 0, 1 / square, 0.0) * kept[:, None]
    # curl f = -A k cos(k y) has half of its amplitude in the mode +k.
    forcing = -forcing_amplitude * unit * forcing_wavenumber / 2

    def step_limit(state: Tensor) -> Tensor:
        u, v = velocity(unpack_columns(state, points), length=length).unbind(1)
        speed = (u.abs() + v.abs()).amax((1, 2))
        return 1.0 / (unit * (half - 1) * speed).clamp(min=torch.finfo(dtype).tiny)

    rows = -(-points // width) * width
    return CompiledSystem(
        linear=(-viscosity * square - drag) * kept[:, None],
        step_limit=step_limit,
        to_grid=lambda state: unpack_columns(state, points),
        function="kolmogorov",
        sizes=(points, half),
        constants=(
            kx.to(dtype), inverse_square.to(dtype), unit, forcing, forcing_wavenumber,
            roots_of_unity(points, dtype),
        ),
        work=(points + len(columns) * (2 * half + rows)) * 2 * width,
    )  # fmt: skip


def _columns(points: int, width: int) -> tuple[Tensor, Tensor]:
    """The wavenumbers kx (blocks, width) in units of 2 pi / length, and which of them are retained.

    A block has width / 2 wavenumbers kx >= 0, followed by their negatives.
    """
    half = retained_modes(points)
    positive = torch.arange(-(-2 * half // width) * width // 2).unflatten(0, (-1, width // 2))
    return torch.cat([positive, -positive], dim=1), torch.cat([positive, positive], dim=1) < half


def pack_columns(field: Float[Tensor, "B X X"]) -> Float[Tensor, "B C K 2 W"]:
    """Retained modes with ky >= 0 in C blocks of W columns (see `_columns`), without the mean."""
    points = field.shape[-1]
    columns, kept = _columns(points, lanes(field.dtype))
    modes = torch.fft.rfft2(field, norm="forward")[..., : retained_modes(points)]
    modes[:, 0, 0] = 0
    blocks = torch.view_as_real(modes[:, columns % points] * kept[..., None])
    return blocks.permute(0, 1, 3, 4, 2).contiguous()


def unpack_columns(state: Float[Tensor, "B C K 2 W"], points: int) -> Float[Tensor, "B X X"]:
    """The fields of a state in columns."""
    columns, kept = _columns(points, state.shape[-1])
    blocks = torch.view_as_complex(state.permute(0, 1, 4, 2, 3).contiguous())
    modes = blocks.new_zeros(len(state), points, points // 2 + 1)
    modes[:, columns[kept] % points, : state.shape[2]] = blocks[:, kept]
    return torch.fft.irfft2(modes, s=(points, points), norm="forward")


def _complex(state: Tensor) -> Tensor:
    return torch.view_as_complex(state.unflatten(-1, (-1, 2)))


def _rows_to_grid(modes: Tensor, points: int) -> Tensor:
    """Complex fields from their retained rows ky: transforms along x, pads, then transforms along y."""
    half = (modes.shape[-2] + 1) // 2
    columns = torch.fft.ifft(modes, dim=-1, norm="forward").transpose(-1, -2)
    padded = columns.new_empty(*columns.shape[:-1], points)
    padded[..., half : points - half + 1] = 0
    padded[..., :half] = columns[..., :half]
    padded[..., points - half + 1 :] = columns[..., half:]
    return torch.fft.ifft(padded, dim=-1, norm="forward")


def _grid_to_rows(pairs: Tensor, half: int) -> Tensor:
    """The retained rows ky of pairs of fields (..., x, y, 2), interleaved and not divided by points^2."""
    modes = torch.fft.fft(torch.view_as_complex(pairs), dim=-1)
    points = modes.shape[-1]
    kept = (modes[..., :half].transpose(-1, -2), modes[..., points - half + 1 :].transpose(-1, -2))
    rows = torch.fft.fft(torch.cat(kept, dim=-2), dim=-1)
    return torch.view_as_real(rows).flatten(-2)

r"""Zero divergence of periodic velocity fields, with the projection in Fourier space.

Let (d_x, d_y) be the symbols of a discrete derivative. The divergence of the modes (u_k, v_k) is
d_x u_k + d_y v_k. The nearest divergence-free field drops the part of each mode along the conjugate symbol:

    (u_k, v_k) - conj(d) (d . (u_k, v_k)) / |d|^2.

The mean, whose symbol is zero, is kept.

**Spectral derivatives** (`DivergenceFree`). The symbols are i kx and i ky, and the projection is the Leray
projection. On an even grid, modes at the Nyquist wavenumber have no derivative: the constraint ignores
them, and the projection leaves them unchanged.

**Backward differences** (`BackwardDivergence`), as on a staggered grid. With u on the right faces and v on
the upper faces of cells of side h, the outflow of a cell over its area is

    (u_{i,j} - u_{i-1,j}) / h + (v_{i,j} - v_{i,j-1}) / h,

the divergence that finite-volume solvers keep at zero (jax-cfd; Feng, Baptista and Bouman 2025,
https://arxiv.org/abs/2406.12816). Its symbols are (1 - exp(-i k h)) / h.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.constraints._conditioner import LinearConditioner


class PeriodicDivergence(Constraint):
    """Base of the constraints on velocities (B, ..., 2, X, Y) on a periodic square of side `length`."""

    unit = "1/time"
    tolerance = 1e-5
    convex = True
    smooth = True

    def __init__(self, *, length: float) -> None:
        self.length = length
        self.unit_wavenumber = 2 * math.pi / length

    @abstractmethod
    def symbols(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The symbols d_x and d_y of the modes of `rfft2`, for fields on the grid of `x`."""

    def violation(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, " B"]:
        """The root mean square of the divergence over that of the velocity gradient, per sample."""
        modes = torch.fft.rfft2(x)
        kx, ky = self.wavenumbers(x)
        gradient = torch.fft.irfft2(torch.sqrt(kx**2 + ky**2) * modes, s=x.shape[-2:]).flatten(1).norm(dim=1)
        return self.residual(x).flatten(1).norm(dim=1) / gradient.clamp(min=torch.finfo(x.dtype).tiny)

    def project(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, "B *F 2 X Y"]:
        """The nearest divergence-free field."""
        modes = torch.fft.rfft2(x.double())
        dx, dy = self.symbols(x.double())
        square = dx.abs() ** 2 + dy.abs() ** 2
        along = (dx * modes[..., 0, :, :] + dy * modes[..., 1, :, :]) / torch.where(square > 0, square, 1.0)
        solenoidal = modes - torch.stack([dx.conj() * along, dy.conj() * along], dim=-3)
        return torch.fft.irfft2(solenoidal, s=x.shape[-2:]).to(x.dtype)

    def conditioner(
        self, shift: Float[Tensor, "*F 2 X Y"], scale: Float[Tensor, "*F 2 X Y"]
    ) -> LinearConditioner:
        """Conditions Gaussians on zero divergence, exactly.

        Raises:
            ValueError: the scale differs between coordinates, so the Fourier transform does not diagonalise
                A A^T.
        """
        one = scale.flatten()[0]
        if not torch.allclose(scale, one, rtol=1e-5):
            raise ValueError(
                "conditioning on zero divergence needs one scale for all coordinates: set `scaling: global` "
                "in the model."
            )
        return LinearConditioner(DivergenceEquality(self, shift.double(), float(one)))

    def wavenumbers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Wavenumbers kx (X, 1) and ky (1, Y // 2 + 1) of the modes of `rfft2`."""
        nx, ny = x.shape[-2:]
        kx = torch.fft.fftfreq(nx, 1 / nx, dtype=x.dtype, device=x.device)[:, None]
        ky = torch.fft.rfftfreq(ny, 1 / ny, dtype=x.dtype, device=x.device)[None, :]
        return self.unit_wavenumber * kx, self.unit_wavenumber * ky


@dataclass(frozen=True)
class DivergenceGram:
    """A A^T for the divergence A, diagonal in the Fourier transform. Modes of zero divergence drop out."""

    rows: DivergenceRows

    def solve(self, residual: Float[Tensor, "*B m"]) -> Float[Tensor, "*B m"]:
        """The smallest solution y of A A^T y = r."""
        modes = torch.fft.rfft2(self.rows.scalars(residual))
        square = self.rows.square(residual)
        found = modes * torch.where(square > 0, 1 / torch.where(square > 0, square, 1.0), 0.0)
        return torch.fft.irfft2(found, s=self.rows.shape[-2:]).flatten(-self.rows.axes)

    def logdet(self) -> Tensor:
        """log of the product of the eigenvalues that are not zero."""
        square = self.rows.square(torch.zeros((), dtype=torch.float64))
        # A mode of `rfft2` stands for two of the full transform, except at the ends of the last axis.
        columns = self.rows.shape[-1]
        twice = torch.full((columns // 2 + 1,), 2.0).to(square)
        twice[0] = 1.0
        if columns % 2 == 0:
            twice[-1] = 1.0
        fields = math.prod(self.rows.shape[:-3])
        kept = torch.where(square > 0, square, 1.0).log() * twice
        return fields * kept.sum()


@dataclass(frozen=True)
class DivergenceRows:
    """The divergence of flattened fields with `shape` (*F, 2, X, Y), times a number, as a linear map A."""

    dependent: ClassVar[bool] = True  # the mean of a divergence is zero
    constraint: PeriodicDivergence
    shape: torch.Size
    factor: float

    @property
    def axes(self) -> int:
        """The number of axes of a divergence (*F, X, Y)."""
        return len(self.shape) - 1

    def to(self, like: Tensor) -> DivergenceRows:
        """The map itself, which has no tensors."""
        return self

    def apply(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """A x."""
        modes = torch.fft.rfft2(x.unflatten(-1, self.shape))
        dx, dy = self.constraint.symbols(x.new_zeros(self.shape))
        found = dx * modes[..., 0, :, :] + dy * modes[..., 1, :, :]
        return self.factor * torch.fft.irfft2(found, s=self.shape[-2:]).flatten(-self.axes)

    def adjoint(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B n"]:
        """A^T y."""
        modes = torch.fft.rfft2(self.scalars(y))
        dx, dy = self.constraint.symbols(y.new_zeros(self.shape))
        found = torch.stack([dx.conj() * modes, dy.conj() * modes], dim=-3)
        return self.factor * torch.fft.irfft2(found, s=self.shape[-2:]).flatten(-len(self.shape))

    @property
    def unit_gram(self) -> DivergenceGram:
        """The factored A A^T."""
        return DivergenceGram(self)

    def scalars(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B *F X Y"]:
        """Flattened divergences as fields."""
        return y.unflatten(-1, (*self.shape[:-3], *self.shape[-2:]))

    def square(self, like: Tensor) -> Tensor:
        """The eigenvalues of A A^T, one a mode."""
        dx, dy = self.constraint.symbols(like.new_zeros(self.shape))
        return self.factor**2 * (dx.abs() ** 2 + dy.abs() ** 2)


@dataclass(frozen=True)
class DivergenceEquality:
    """div(shift + scale z) = 0 for flattened points z."""

    constraint: PeriodicDivergence
    shift: Float[Tensor, "*F 2 X Y"]
    scale: float

    @property
    def independent(self) -> DivergenceRows:
        """The map A from z to the divergence."""
        return DivergenceRows(self.constraint, self.shift.shape, self.scale)

    def independent_residual(self, z: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """The divergence, in double precision."""
        return self.independent.apply(z.double() + (self.shift.to(z).double() / self.scale).flatten())


class DivergenceFree(PeriodicDivergence):
    """div u = 0 by spectral derivatives, for velocities (B, ..., 2, X, Y) on a periodic square.

    Args:
        length: side of the square.
    """

    def residual(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, "B *F X Y"]:
        """The spectral divergence (1/time)."""
        modes = torch.fft.rfft2(x)
        dx, dy = self.symbols(x)
        return torch.fft.irfft2(dx * modes[..., 0, :, :] + dy * modes[..., 1, :, :], s=x.shape[-2:])

    def symbols(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kx, ky = self.wavenumbers(x)
        nx, ny = x.shape[-2:]
        inside = (kx.abs() < self.unit_wavenumber * nx / 2) & (ky.abs() < self.unit_wavenumber * ny / 2)
        return 1j * kx * inside, 1j * ky * inside


class BackwardDivergence(PeriodicDivergence):
    """div u = 0 by backward differences, for velocities (B, ..., 2, X, Y) on a periodic square.

    Args:
        length: side of the square.
    """

    def residual(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, "B *F X Y"]:
        """The outflow of each cell over its area (1/time)."""
        u, v = x.unbind(-3)
        hx, hy = (self.length / points for points in x.shape[-2:])
        return (u - u.roll(1, -2)) / hx + (v - v.roll(1, -1)) / hy

    def symbols(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hx, hy = (self.length / points for points in x.shape[-2:])
        kx, ky = self.wavenumbers(x)
        dx, dy = ((1 - torch.exp(-1j * k * h)) / h for k, h in ((kx, hx), (ky, hy)))
        return dx, dy

r"""Zero divergence of periodic velocity fields by spectral derivatives.

The symbols are i kx and i ky: the nearest field without divergence is Leray's projection. On an even grid the modes at the
sampling limit have no derivative; they are outside the constraint and left as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints.divergence.periodic import PeriodicDivergence


class DivergenceFree(PeriodicDivergence):
    """div u = 0 for velocities of shape (B, ..., 2, X, Y) on a periodic square of side `length`."""

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

r"""Zero divergence of periodic velocity fields, in Fourier space.

For velocities (u, v) with modes (u_k, v_k) the divergence has the modes i (kx u_k + ky v_k), and the nearest
field without divergence (Leray's projection) drops the part of each mode along its wave vector:

    (u_k, v_k) - k (k . (u_k, v_k)) / |k|^2.

The mean is kept. On an even grid the modes at the sampling limit have no derivative; they are outside the
constraint and left as they are.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint


class DivergenceFree(Constraint):
    """div u = 0 for velocities of shape (B, ..., 2, X, Y) on a periodic square of side `length`."""

    unit = "1/time"

    def __init__(self, *, length: float) -> None:
        self.length = length
        self.tolerance = 1e-5

    def residual(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, "B *F X Y"]:
        """The spectral divergence (1/time)."""
        modes = torch.fft.rfft2(x)
        kx, ky = self._wavenumbers(x)
        divergence = 1j * (kx * modes[..., 0, :, :] + ky * modes[..., 1, :, :])
        return torch.fft.irfft2(divergence, s=x.shape[-2:])

    def violation(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, " B"]:
        """The root mean square of the divergence over that of the velocity gradient."""
        modes = torch.fft.rfft2(x)
        kx, ky = self._wavenumbers(x)
        wavenumber = torch.sqrt(kx**2 + ky**2)
        gradient = torch.fft.irfft2(wavenumber * modes, s=x.shape[-2:]).flatten(1).norm(dim=1)
        return self.residual(x).flatten(1).norm(dim=1) / gradient.clamp(min=torch.finfo(x.dtype).tiny)

    def project(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, "B *F 2 X Y"]:
        """The nearest field without divergence."""
        modes = torch.fft.rfft2(x.double())
        kx, ky = self._wavenumbers(x.double())
        square = kx**2 + ky**2
        along = (kx * modes[..., 0, :, :] + ky * modes[..., 1, :, :]) / torch.where(square > 0, square, 1.0)
        solenoidal = modes - torch.stack([kx * along, ky * along], dim=-3)
        return torch.fft.irfft2(solenoidal, s=x.shape[-2:]).to(x.dtype)

    def condition(
        self, mean: Float[Tensor, "B *F 2 X Y"], variance: Tensor
    ) -> tuple[Float[Tensor, "B *F 2 X Y"], None]:
        """The mean of N(mean, variance I) given zero divergence: its projection. The covariance is not formed.

        Raises:
            ValueError: the variance differs between coordinates, for which there is no transform to solve by.
        """
        if not torch.allclose(variance, variance.flatten()[0], rtol=1e-5):
            raise ValueError(
                "conditioning on zero divergence needs one variance for all coordinates: "
                "set `scaling: global` in the model's `standardisation`."
            )
        return self.project(mean), None

    def _wavenumbers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        nx, ny = x.shape[-2:]
        unit = 2 * math.pi / self.length
        kx = unit * torch.fft.fftfreq(nx, 1 / nx, dtype=x.dtype, device=x.device)[:, None]
        ky = unit * torch.fft.rfftfreq(ny, 1 / ny, dtype=x.dtype, device=x.device)[None, :]
        inside = (kx.abs() < unit * nx / 2) & (ky.abs() < unit * ny / 2)
        return kx * inside, ky * inside

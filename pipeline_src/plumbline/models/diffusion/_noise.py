r"""Noise with a covariance: a stationary Gaussian random field on the grid of the samples.

A field e on a periodic grid of d dimensions with N points is drawn from white noise w by its Fourier
transform F,

    e = K^{1/2} w = F^{-1} sqrt(s) F w,            s_k = N c_k / sum_j c_j,
    c_k = (1 + (2 pi l |k|)^2 / (2 nu))^{-(nu + d/2)},

with the integer frequencies k along each axis, the correlation length l in units of an axis, and the
smoothness nu of Matern's covariance. The mean of s is one, so that every point has unit variance. No s is
zero, so that the field has full rank on any grid. On a coarser grid the field lacks the modes that the grid
does not resolve, and is scaled to unit variance.

**How it enters models and samplers.** x_t = alpha x + sigma K^{1/2} w is the same as

    K^{-1/2} x_t = alpha K^{-1/2} x + sigma w:

a diffusion with white noise of whitened samples. The model's space is therefore that of whitened samples
(`WhitenedSpace`), and its denoiser there whitens the estimate of the network, which sees the fields
themselves (`WhitenedDenoiser`). In this space all noise is white: that of the first state, of stochastic
steps and of Langevin steps, so that every sampler works unchanged. Constraints see decoded samples, in the
data's units.

Sources: function-space noise: Kerrigan, Migliorini, Smyth (AISTATS 2024), https://arxiv.org/abs/2305.17209;
Lim et al. (2023), https://arxiv.org/abs/2302.07400; the spectrum: Lindgren, Rue, Lindstrom (2011),
https://doi.org/10.1111/j.1467-9868.2011.00777.x.
"""

from __future__ import annotations

import math

import torch
from azula.denoise import Denoiser, DiracPosterior
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.samplers._models import Space

# Largest ratio of the variances of two modes; beyond it, whitening loses single precision.
LARGEST_CONDITION = 1e8


class GaussianField(nn.Module):
    """Stationary Gaussian noise of unit variance with Matern's spectrum, on the last axes of a sample.

    Args:
        shape: shape of a sample; the axes before the grid are independent channels.
        grid_dimensions: d, the number of the last axes that form the grid.
        length: correlation length, as a fraction of each axis.
        smoothness: nu.

    Raises:
        ValueError: a sample has fewer axes than the grid, or the field is so smooth that its variances differ
            by a factor of more than `LARGEST_CONDITION`.
    """

    spectrum: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, grid_dimensions: int, length: float, smoothness: float
    ) -> None:
        super().__init__()
        if grid_dimensions > len(shape):
            raise ValueError(
                f"`noise`: `grid_dimensions` is {grid_dimensions}, and a sample of shape {shape} has "
                f"{len(shape)}: lower it."
            )
        grid = shape[-grid_dimensions:]
        squares = [(torch.fft.fftfreq(n, dtype=torch.float64) * n).square() for n in grid]
        square = torch.zeros(())
        for axis, one in enumerate(squares):
            square = square + one.view(-1, *(1,) * (len(grid) - 1 - axis))
        base = 1 + (2 * math.pi * length) ** 2 * square / (2 * smoothness)
        spectrum = base ** -(smoothness + grid_dimensions / 2)
        if float(spectrum.max() / spectrum.min()) > LARGEST_CONDITION:
            raise ValueError(
                f"`noise`: a field of length {length:g} and smoothness {smoothness:g} is too smooth on a "
                f"grid of {grid}: the variances of its modes differ by a factor of "
                f"{float(spectrum.max() / spectrum.min()):.1e}, and {LARGEST_CONDITION:.0e} is the limit. "
                "Lower one of them."
            )
        self.axes = tuple(range(-grid_dimensions, 0))
        self.register_buffer("spectrum", spectrum / spectrum.mean(), persistent=False)

    def coloured(self, w: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """K^{1/2} w: the field of white noise w."""
        return self._filtered(w, self.spectrum.sqrt())

    def whitened(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """K^{-1/2} x."""
        return self._filtered(x, self.spectrum.rsqrt())

    def _filtered(self, x: Tensor, gains: Tensor) -> Tensor:
        transformed = torch.fft.fftn(x.double(), dim=self.axes) * gains
        return torch.fft.ifftn(transformed, dim=self.axes).real.to(x.dtype)


class WhitenedSpace:
    """A space of whitened points, in which the noise K^{1/2} w of another space is white.

    Args:
        inner: the other space.
        field: the noise there.
    """

    def __init__(self, inner: Space, field: GaussianField) -> None:
        self.inner, self.field = inner, field

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decode`."""
        return int(getattr(self.inner, "decoding_evaluations", 0))

    def encode(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From the data's units to whitened points."""
        return self.field.whitened(self.inner.encode(x))

    def decode(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """From whitened points to the data's units."""
        return self.inner.decode(self.field.coloured(z))


class WhitenedDenoiser(Denoiser):
    """The denoiser of whitened points with white noise, from a denoiser of points with the noise K^{1/2} w.

    Args:
        denoiser: the denoiser of points with coloured noise.
        field: the noise.
    """

    def __init__(self, denoiser: Denoiser, field: GaussianField) -> None:
        super().__init__()
        self.denoiser, self.field = denoiser, field
        self.schedule = denoiser.schedule

    def forward(
        self, x_t: Float[Tensor, "B *S"], t: Float[Tensor, "*B"], **conditions: Tensor
    ) -> DiracPosterior:
        """The whitened clean estimate."""
        mean = self.denoiser(self.field.coloured(x_t), t, **conditions).mean
        return DiracPosterior(self.field.whitened(mean))

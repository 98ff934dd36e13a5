r"""A Fourier neural operator with the interface of a backbone.

Features h(x) at each grid point are lifted from the channels of the sample. A block computes

    h + c W_2 gelu( W_1 m + K m + b ),    m = (1 + a) norm(h) + s,

where W_1 and W_2 act at each point, and K multiplies the lowest Fourier modes of the features by one complex
matrix per mode. The vectors a, s and c come from the embedding of noise level and condition (adaptive layer
normalisation, as in the other backbones); without them, it is the block of Li et al. (2021, eq. 5,
https://arxiv.org/abs/2010.08895) with a residual connection and a second point-wise map.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import ChannelNorm, GridBackbone

EXTENSION = 8
"""An axis that is not periodic is extended by zeros, by one grid point for this many."""


class FourierNeuralOperator(GridBackbone):
    """A Fourier neural operator over samples (B, ..., *grid); all dimensions before the grid are channels.

    It commutes with shifts along periodic axes. The weights apply at any resolution: on a finer grid, the
    output for band-limited input is that of the coarse grid, interpolated, up to aliasing by the
    activations. The channels of a field that samples are conditioned on are further input channels.

    Args:
        sample: the shape of samples. Along axes that are not periodic, the coordinate is an input, and the
            features are extended by zeros, because the Fourier transform takes every axis as periodic.
        grid_dimensions: number of dimensions of the grid, from one to three.
        width: features at each grid point.
        modes: number of Fourier modes k = 0, 1, ... along each axis that the weights multiply, with -k along
            all axes but the last; at most those that the grid of `sample` resolves.
        blocks: number of blocks.
        embedding: dimension of the embedding of noise level and condition.

    Raises:
        ValueError: a sample has fewer dimensions than the grid.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        grid_dimensions: int = 2,
        width: int = 32,
        modes: int = 12,
        blocks: int = 4,
        embedding: int = 64,
    ) -> None:
        super().__init__(sample, grid_dimensions=grid_dimensions, embedding=embedding)
        self.dimensions, self.outputs = grid_dimensions, sample.outputs
        self.periodic = sample.periodic_axes(grid_dimensions)
        extended = tuple(n + e for n, e in zip(self.sizes, self.extensions(self.sizes), strict=True))
        kept = tuple(min(modes, (n + 1) // 2) for n in extended)
        inputs = self.channels + self.field_channels + self.periodic.count(False)
        self.lift = PointwiseLinear(inputs, width)
        self.blocks = nn.ModuleList(FourierBlock(width, kept, embedding) for _ in range(blocks))
        self.last = nn.Sequential(ChannelNorm(), PointwiseLinear(width, self.channels * sample.outputs))

    def forward(
        self,
        x: Float[Tensor, "B *S"],
        level: Float[Tensor, "*B"],
        condition: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Float[Tensor, "B *O"]:
        """The network's output, of the shape of `x`, or (B, outputs, *S) if there are several outputs.

        The grid of `x` may be finer than that of the samples that the network was built for.
        """
        sizes = x.shape[-self.dimensions :]
        channels = self.with_field(x.reshape(len(x), -1, *sizes), field)
        embedded = self.embedding(level, condition)
        h = self.lift(torch.cat([channels, *self.coordinates(channels)], dim=1))
        ends = [amount for e in reversed(self.extensions(sizes)) for amount in (0, e)]
        h = nn.functional.pad(h, ends)
        for block in self.blocks:
            h = block(h, embedded)
        h = h[(..., *(slice(n) for n in sizes))]
        shape = x.shape[1:] if self.outputs == 1 else (self.outputs, *x.shape[1:])
        return self.last(h).reshape(-1, *shape)

    def extensions(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Number of grid points that each axis of a grid of these sizes is extended by."""
        axes = zip(sizes, self.periodic, strict=True)
        return tuple(0 if wraps else -(-n // EXTENSION) for n, wraps in axes)

    def coordinates(self, x: Float[Tensor, "B C *G"]) -> list[Float[Tensor, "B 1 *G"]]:
        """The position along each axis that is not periodic, from -1 to 1, as a channel."""
        channels = []
        for axis, wraps in enumerate(self.periodic, start=2):
            if not wraps:
                n = x.shape[axis]
                position = 2 * torch.arange(n, dtype=x.dtype, device=x.device) / n - 1
                along = position.view(n, *(1,) * (x.ndim - 1 - axis))
                channels.append(along.expand(len(x), 1, *x.shape[2:]))
        return channels


class PointwiseLinear(nn.Linear):
    """The same linear map of the channels at each grid point."""

    def forward(self, x: Float[Tensor, "B C *G"]) -> Float[Tensor, "B D *G"]:
        """The mapped channels."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SpectralConvolution(nn.Module):
    """Multiplies each of the lowest Fourier modes by its own complex matrix; all other modes become zero.

    Weights are stored as real numbers, with real and imaginary parts along the last dimension.

    Args:
        width: number of features.
        modes: modes k = 0, 1, ... along each axis, and -k along all but the last axis, whose spectrum is
            symmetric.
    """

    def __init__(self, width: int, modes: tuple[int, ...]) -> None:
        super().__init__()
        self.modes = modes
        kept = (*(2 * m - 1 for m in modes[:-1]), modes[-1])
        scale = 1 / math.sqrt(2 * width)
        self.weight = nn.Parameter(scale * torch.randn(width, width, *kept, 2))

    def forward(self, x: Float[Tensor, "B C *G"]) -> Float[Tensor, "B C *G"]:
        """The filtered features, at the resolution of `x`, which must resolve the modes.

        Raises:
            ValueError: it does not.
        """
        sizes, axes = x.shape[2:], tuple(range(2, x.ndim))
        if any(2 * m - 1 > n for m, n in zip(self.modes, sizes, strict=True)):
            raise ValueError(
                f"a grid of {tuple(sizes)} points does not resolve the {self.modes} Fourier modes of this "
                "network."
            )
        # Normalised by the number of points, so that coefficients do not depend on the resolution.
        real = x if x.dtype in (torch.float32, torch.float64) else x.float()
        spectrum = torch.fft.rfftn(real, dim=axes, norm="forward")
        rows = tuple(
            torch.arange(1 - m, m, device=x.device).remainder(n)
            for m, n in zip(self.modes[:-1], sizes[:-1], strict=True)
        )
        low = spectrum[..., : self.modes[-1]]
        for axis, chosen in enumerate(rows, start=2):
            low = low.index_select(axis, chosen)
        weight = torch.view_as_complex(self.weight.to(real.dtype))
        mixed = torch.einsum("bi...,io...->bo...", low, weight)
        for axis, chosen in reversed(list(enumerate(rows, start=2))):
            shape = (*mixed.shape[:axis], sizes[axis - 2], *mixed.shape[axis + 1 :])
            mixed = mixed.new_zeros(shape).index_copy(axis, chosen, mixed)
        filtered = torch.fft.irfftn(mixed, s=tuple(sizes), dim=axes, norm="forward")
        return filtered.to(x.dtype)


class FourierBlock(nn.Module):
    """h + c W_2 gelu(W_1 m + K m + b), with m = (1 + a) norm(h) + s, and a, s, c from the embedding."""

    def __init__(self, width: int, modes: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        self.norm = ChannelNorm()
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 3 * width))
        self.spectral = SpectralConvolution(width, modes)
        self.pointwise = PointwiseLinear(width, width)
        self.exit = PointwiseLinear(width, width)

    def forward(self, h: Float[Tensor, "B C *G"], embedded: Float[Tensor, "#B E"]) -> Float[Tensor, "B C *G"]:
        """The features after the block."""
        modulation = self.modulation(embedded)
        scale, shift, gate = modulation.view(*modulation.shape, *(1,) * (h.ndim - 2)).chunk(3, dim=1)
        m = (1 + scale) * self.norm(h) + shift
        return h + gate * self.exit(nn.functional.gelu(self.spectral(m) + self.pointwise(m)))

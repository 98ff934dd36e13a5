r"""Blocks shared by several networks: grids, noise-level embeddings, heads and image encoders."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks._shape import SampleShape


def grid_of(sample: SampleShape) -> tuple[int, int, int]:
    """Channels, height and width of samples on a grid; all dimensions before the last two count as channels.

    Raises:
        ValueError: the samples are vectors.
    """
    if len(sample.shape) < 2:
        raise ValueError(
            f"this network needs samples on a grid, found the shape {sample.shape}: "
            "use `mlp` or `perceptron`."
        )
    height, width = sample.shape[-2:]
    return math.prod(sample.shape[:-2]), height, width


def require_grid(sample: SampleShape, dimensions: int) -> None:
    """Checks that samples have at least as many dimensions as the grid.

    Raises:
        ValueError: they have fewer.
    """
    if len(sample.shape) < dimensions:
        remedy = f"set `grid_dimensions` to {len(sample.shape)}, or use `mlp`"
        raise ValueError(
            f"this network needs samples on a grid of {dimensions} dimensions, found the shape "
            f"{sample.shape}: {remedy}."
        )


def refuse_field(sample: SampleShape, kind: str) -> None:
    """Checks that samples are conditioned on no field, for a network that takes vectors only.

    Raises:
        ValueError: they are conditioned on a field.
    """
    if sample.field:
        raise ValueError(
            f"`network`: `{kind}` takes vectors as conditions, and `condition` is a field of shape "
            f"{sample.field}: use `unet`, `dit` or `fno`."
        )


class AxisPadding(nn.Module):
    """Pads the axes of the grid: circularly along periodic axes, with zeros along the others."""

    def __init__(self, amount: tuple[int, ...], periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.amount = amount
        self.periodic = periodic

    def forward(self, x: Float[Tensor, "B C *G"]) -> Float[Tensor, "B C *H"]:
        """The padded tensor, in the memory layout of `x`, which torch's circular `pad` does not preserve."""
        for axis, (amount, periodic) in enumerate(zip(self.amount, self.periodic, strict=True), start=2):
            if periodic and amount:
                x = torch.cat([x.narrow(axis, -amount, amount), x, x.narrow(axis, 0, amount)], dim=axis)
            elif amount:
                x = nn.functional.pad(x, (*(0, 0) * (x.ndim - 1 - axis), amount, amount))
        return x


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels at each point of the grid, without learned scale and shift.

    From Ba, Kiros and Hinton (2016), https://arxiv.org/abs/1607.06450. Uses torch's kernel for the last axis,
    which in the layout `torch.channels_last` holds the channels, so that nothing is copied.
    """

    def forward(self, x: Float[Tensor, "B C *G"]) -> Float[Tensor, "B C *G"]:
        """The normalised tensor, in the memory layout of `x`."""
        return nn.functional.layer_norm(x.movedim(1, -1), (x.shape[1],)).movedim(-1, 1)


class LevelEmbedding(nn.Module):
    """Embedding of the noise level log(sigma/alpha), plus an embedding of the condition.

    The level passes through low-frequency Fourier features (as in Tancik et al. 2020,
    https://arxiv.org/abs/2006.10739, with fixed frequencies) and a small network.

    Args:
        features: dimension of the embedding, even.
        condition: dimension of the condition, zero if there is none.
    """

    frequencies: Tensor

    def __init__(self, features: int, condition: int) -> None:
        super().__init__()
        half = features // 2
        self.register_buffer("frequencies", math.pi * torch.logspace(-3, 0, half, base=2.0) * 2)
        self.level = nn.Sequential(nn.Linear(2 * half, features), nn.SiLU(), nn.Linear(features, features))
        self.condition = (
            nn.Sequential(nn.Linear(condition, features), nn.SiLU(), nn.Linear(features, features))
            if condition
            else None
        )

    def forward(
        self, level: Float[Tensor, "*B"], condition: Float[Tensor, "B C"] | None
    ) -> Float[Tensor, "#B F"]:
        """The embedding; a single row if the level is a scalar and there is no condition.

        Raises:
            ValueError: the network was built for a condition and receives none.
        """
        phases = torch.atleast_1d(level)[:, None] / 4 * self.frequencies
        embedded = self.level(torch.cat([phases.sin(), phases.cos()], dim=-1))
        if self.condition is not None:
            if condition is None:
                raise ValueError("this network was built for a condition, but was given none.")
            embedded = embedded + self.condition(condition)
        return embedded


class GridBackbone(nn.Module):
    """Base of the backbones of samples on a grid (B, ..., *grid); dimensions before the grid are channels.

    Args:
        sample: the shape of samples.
        grid_dimensions: number of dimensions of the grid, from one to three.
        embedding: dimension of the embedding of noise level and condition.

    Attributes:
        channels: number of channels of a sample.
        sizes: number of points along each axis of the grid.
        shape: the shape of the output for one sample.
        field_channels: number of channels of the field that samples are conditioned on.

    Raises:
        ValueError: a sample, or the field, has fewer dimensions than the grid.
    """

    def __init__(self, sample: SampleShape, *, grid_dimensions: int, embedding: int) -> None:
        super().__init__()
        require_grid(sample, grid_dimensions)
        self.channels = sample.channels(grid_dimensions)
        self.sizes = sample.shape[-grid_dimensions:]
        self.shape = sample.output_shape
        self.field_channels = sample.field_channels(grid_dimensions)
        self.embedding = LevelEmbedding(embedding, sample.condition)

    def with_field(
        self, x: Float[Tensor, "B C *G"], field: Float[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B D *G"]:
        """Samples x with the channels of the field that they are conditioned on, if there is one.

        Raises:
            ValueError: the network was built for a field and receives none.
        """
        if not self.field_channels:
            return x
        if field is None:
            raise ValueError("this network was built for a condition that is a field, but was given none.")
        return torch.cat([x, field.reshape(len(field), self.field_channels, *x.shape[2:])], dim=1)


class GaussianHead(nn.Module):
    """Mean and variance (..., n) from features (..., F).

    Args:
        features: F.
        dim: n.
        initial_std: standard deviation at initialisation.
        min_std: lower bound of the standard deviation.
    """

    def __init__(self, features: int, dim: int, initial_std: float, min_std: float) -> None:
        super().__init__()
        self.mean = nn.Linear(features, dim)
        self.raw_variance = nn.Linear(features, dim)
        self.floor = min_std**2
        nn.init.zeros_(self.raw_variance.weight)
        nn.init.constant_(self.raw_variance.bias, raw_start(initial_std, min_std))

    def forward(
        self, features: Float[Tensor, "*B F"], *, variance_apart: bool = False
    ) -> tuple[Float[Tensor, "*B n"], Float[Tensor, "*B n"]]:
        """Mean and variance; with `variance_apart`, no gradient of the variance reaches the features."""
        inputs = features.detach() if variance_apart else features
        return self.mean(features), self.floor + torch.nn.functional.softplus(self.raw_variance(inputs))


def raw_start(initial_std: float, min_std: float) -> float:
    """Initial bias of a raw variance: its softplus plus `min_std`^2 gives the variance at initialisation."""
    above = max(initial_std**2 - min_std**2, 0.01 * initial_std**2)
    # The inverse of softplus at the initial value.
    return above + math.log(-math.expm1(-above))


def image_encoder(grid: tuple[int, int, int], channels: int, features: int) -> list[nn.Module]:
    """Layers from images (B, C, H, W) of size `grid` to features (B, features), as published for counting.

    Args:
        grid: channels, height and width; height and width are at least four.
        channels: channels of the first convolution; the second has twice as many.
        features: number of output features.
    """
    inputs, height, width = grid
    return [
        nn.Conv2d(inputs, channels, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * channels * (height // 4) * (width // 4), features),
        nn.ReLU(),
    ]

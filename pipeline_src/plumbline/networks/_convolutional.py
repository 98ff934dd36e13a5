"""Convolutional encoder and decoder of images.

The encoder extracts features by convolutions that halve the grid. The decoder generates an image from a
vector by transposed convolutions that double the grid. Both follow the networks for faces of Engel, Hoffman
and Roberts (ICLR 2018), https://arxiv.org/abs/1711.05772.

The head performs the last doubling. Its variance is constant at initialisation, as in `GaussianHead`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import grid_of, raw_start


class ImageEncoder(nn.Module):
    """Encoder from flattened samples and conditioning values to flattened features.

    Args:
        sample: the shape of samples.
        beside: number of conditioning values per sample, each of which becomes a constant input channel.
        channels: channels of each layer; each layer halves the grid.
        kernels: kernel size of each layer, odd.

    Raises:
        ValueError: the grid cannot be halved by every layer, or the samples are vectors.
    """

    def __init__(
        self, sample: SampleShape, beside: int, *, channels: tuple[int, ...], kernels: tuple[int, ...]
    ) -> None:
        super().__init__()
        coarse_grid(sample, len(channels), "convolutional")
        self.grid, self.dim = grid_of(sample), math.prod(sample.shape)
        widths = [self.grid[0] + beside, *channels]
        layers = [
            layer
            for (before, after), size in zip(pairwise(widths), kernels, strict=True)
            for layer in (nn.Conv2d(before, after, size, stride=2, padding=size // 2), nn.ReLU())
        ]
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B F"]:
        """The features; x holds the flattened samples followed by the conditioning values."""
        image = x[:, : self.dim].view(-1, *self.grid)
        beside = x[:, self.dim :, None, None].expand(-1, -1, *self.grid[1:])
        return self.layers(torch.cat([image, beside], dim=1))


class ImageDecoder(nn.Module):
    """Decoder from vectors to features on a grid of half the samples' size.

    Args:
        inputs: dimension of the input vectors.
        sample: the shape of samples.
        channels: input channels of each layer; each layer doubles the grid, and the head is the last layer.
        kernels: kernel size of each layer, odd.

    Raises:
        ValueError: the grid cannot be halved by every layer, or the samples are vectors.
    """

    def __init__(
        self, inputs: int, sample: SampleShape, *, channels: tuple[int, ...], kernels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.grid = (channels[0], *coarse_grid(sample, len(channels), "deconvolutional")[1:])
        self.enter = nn.Linear(inputs, self.grid[0] * self.grid[1] * self.grid[2])
        self.layers = nn.Sequential(
            *(
                layer
                for (before, after), size in zip(pairwise(channels), kernels[:-1], strict=True)
                for layer in (_doubling(before, after, size), nn.ReLU())
            )
        )

    def forward(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B F h w"]:
        """The features."""
        return self.layers(self.enter(z).view(-1, *self.grid))


class ImageHead(nn.Module):
    """Mean and variance of flattened samples, from features on a grid of half their size.

    Args:
        features: channels of the features.
        sample: the shape of samples.
        kernel: kernel size, odd.
        initial_std: standard deviation at initialisation.
        min_std: lower bound of the standard deviation.
    """

    def __init__(
        self,
        features: int,
        sample: SampleShape,
        *,
        kernel: int,
        initial_std: float,
        min_std: float,
    ) -> None:
        super().__init__()
        channels = grid_of(sample)[0]
        self.mean = _doubling(features, channels, kernel)
        self.raw_variance = _doubling(features, channels, kernel)
        self.floor = min_std**2
        nn.init.zeros_(self.raw_variance.weight)
        assert self.raw_variance.bias is not None
        nn.init.constant_(self.raw_variance.bias, raw_start(initial_std, min_std))

    def forward(
        self, features: Float[Tensor, "B F h w"], *, variance_apart: bool = False
    ) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Mean and variance; with `variance_apart`, no gradient of the variance reaches the features."""
        inputs = features.detach() if variance_apart else features
        raw = self.raw_variance(inputs).flatten(1)
        return self.mean(features).flatten(1), self.floor + nn.functional.softplus(raw)


def coarse_grid(sample: SampleShape, layers: int, kind: str) -> tuple[int, int, int]:
    """Channels of samples, and height and width of their grid after `layers` halvings.

    Args:
        sample: the shape of samples.
        layers: number of halvings.
        kind: kind of the network, for the message.

    Raises:
        ValueError: the grid is not divisible by 2^`layers`, or the samples are vectors.
    """
    channels, height, width = grid_of(sample)
    factor = 2**layers
    if height % factor or width % factor:
        raise ValueError(
            f"{layers} layers of `{kind}` need a grid divisible by {factor}, found {height} x {width}: "
            "set fewer `channels`."
        )
    return channels, height // factor, width // factor


def _doubling(before: int, after: int, size: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, size, stride=2, padding=size // 2, output_padding=1)

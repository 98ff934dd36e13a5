"""Features of a picture by convolutions that halve its grid (as in Engel, Hoffman, Roberts, ICLR 2018, for faces).

A picture from a vector by transposed convolutions that double its grid (as in Engel, Hoffman, Roberts, ICLR 2018, for faces).

The last doubling is the head's, whose variance starts constant, as that of `GaussianHead` does.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import grid_of, raw_start
from plumbline.networks.convolutional import ConvolutionalSpec
from plumbline.networks.deconvolutional import DeconvolutionalSpec


class PictureReader(nn.Module):
    """From flattened samples, and numbers that are told of each, to what the last convolution gives, flattened.

    Args:
        spec: the layers.
        sample: the shape of samples.
        told: numbers beside each sample, which the first convolution sees at every point.

    Raises:
        ValueError: the grid cannot be halved by every layer, or a sample has none.
    """

    def __init__(self, spec: ConvolutionalSpec, sample: SampleShape, told: int) -> None:
        super().__init__()
        spec.coarse(sample)
        self.grid, self.numbers = grid_of(sample), math.prod(sample.shape)
        widths = [self.grid[0] + told, *spec.channels]
        layers = [
            layer
            for (before, after), size in zip(pairwise(widths), spec.kernels, strict=True)
            for layer in (nn.Conv2d(before, after, size, stride=2, padding=size // 2), nn.ReLU())
        ]
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B F"]:
        """The features."""
        picture = x[:, : self.numbers].view(-1, *self.grid)
        told = x[:, self.numbers :, None, None].expand(-1, -1, *self.grid[1:])
        return self.layers(torch.cat([picture, told], dim=1))


class PictureWriter(nn.Module):
    """From vectors to features on a grid of half the size of the samples."""

    def __init__(self, spec: DeconvolutionalSpec, inputs: int, sample: SampleShape) -> None:
        super().__init__()
        self.grid = (spec.channels[0], *spec.coarse(sample)[1:])
        self.enter = nn.Linear(inputs, self.grid[0] * self.grid[1] * self.grid[2])
        self.layers = nn.Sequential(
            *(
                layer
                for (before, after), size in zip(pairwise(spec.channels), spec.kernels[:-1], strict=True)
                for layer in (_doubling(before, after, size), nn.ReLU())
            )
        )

    def forward(self, z: Float[Tensor, "B d"]) -> Float[Tensor, "B F h w"]:
        """The features."""
        return self.layers(self.enter(z).view(-1, *self.grid))


class PictureHead(nn.Module):
    """Mean and variance of flattened samples, from features on a grid of half their size."""

    def __init__(
        self,
        spec: DeconvolutionalSpec,
        sample: SampleShape,
        initial_deviation: float,
        smallest_deviation: float,
    ) -> None:
        super().__init__()
        channels = spec.coarse(sample)[0]
        self.mean = _doubling(spec.channels[-1], channels, spec.kernels[-1])
        self.raw_variance = _doubling(spec.channels[-1], channels, spec.kernels[-1])
        self.floor = smallest_deviation**2
        nn.init.zeros_(self.raw_variance.weight)
        assert self.raw_variance.bias is not None
        nn.init.constant_(self.raw_variance.bias, raw_start(initial_deviation, smallest_deviation))

    def forward(
        self, features: Float[Tensor, "B F h w"], *, variance_apart: bool = False
    ) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Mean and variance; with `variance_apart`, the variance hands no gradient to the features."""
        read = features.detach() if variance_apart else features
        raw = self.raw_variance(read).flatten(1)
        return self.mean(features).flatten(1), self.floor + nn.functional.softplus(raw)


def _doubling(before: int, after: int, size: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, size, stride=2, padding=size // 2, output_padding=1)

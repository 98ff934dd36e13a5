"""Features of a picture by convolutions that halve its grid (as in Engel, Hoffman, Roberts, ICLR 2018, for faces)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks.blocks.grid import grid_of
from plumbline.networks.convolutional import ConvolutionalSpec


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

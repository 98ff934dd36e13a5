"""Samples on a grid: their channels, and padding that follows the periodicity of each axis."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape


def grid_of(sample: SampleShape) -> tuple[int, int, int]:
    """Channels, height and width of samples whose dimensions before the grid are channels.

    Raises:
        ValueError: the samples are vectors.
    """
    if len(sample.shape) < 2:
        raise ValueError(f"this network needs samples on a grid, found the shape {sample.shape}: use `mlp`.")
    height, width = sample.shape[-2:]
    return math.prod(sample.shape[:-2]), height, width


class AxisPadding(nn.Module):
    """Pads the last two axes, circularly along a periodic one and with zeros along another."""

    def __init__(self, amount: tuple[int, int], periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.amount = amount
        self.periodic = periodic

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """The padded tensor."""
        for axis, (amount, periodic) in enumerate(zip(self.amount, self.periodic, strict=True)):
            padding = (0, 0, amount, amount) if axis == 0 else (amount, amount, 0, 0)
            x = nn.functional.pad(x, padding, mode="circular" if periodic else "constant")
        return x

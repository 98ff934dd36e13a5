"""Samples on a grid: their channels, and padding that follows the periodicity of each axis."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape


def grid_of(sample: SampleShape) -> tuple[int, int, int]:
    """Channels, height and width of samples whose dimensions before the grid are channels.

    Raises:
        ValueError: the samples are vectors.
    """
    if len(sample.shape) < 2:
        raise ValueError(
            f"this network needs samples on a grid, found the shape {sample.shape}: use `mlp`, or `perceptron`."
        )
    height, width = sample.shape[-2:]
    return math.prod(sample.shape[:-2]), height, width


class AxisPadding(nn.Module):
    """Pads the last two axes, circularly along a periodic one and with zeros along another."""

    def __init__(self, amount: tuple[int, int], periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.amount = amount
        self.periodic = periodic

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """The padded tensor, in the memory layout of `x`, which `pad(..., mode="circular")` does not keep."""
        for axis, (amount, periodic) in enumerate(zip(self.amount, self.periodic, strict=True), start=2):
            if periodic and amount:
                x = torch.cat([x.narrow(axis, -amount, amount), x, x.narrow(axis, 0, amount)], dim=axis)
            elif amount:
                x = nn.functional.pad(x, (0, 0, amount, amount) if axis == 2 else (amount, amount))
        return x


class ChannelNorm(nn.Module):
    """Subtracts the mean over the channels at each point of the grid, and divides by the standard deviation over them.

    Layer normalisation (Ba, Kiros, Hinton 2016) by the kernel that torch has for the last axis, which is where channels lie in
    memory in the layout `torch.channels_last`: there nothing is copied.
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The normalised tensor, in the memory layout of `x`."""
        return nn.functional.layer_norm(x.movedim(1, -1), (x.shape[1],)).movedim(-1, 1)

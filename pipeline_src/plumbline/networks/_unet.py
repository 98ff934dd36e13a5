"""azula's U-Net with the interface of a backbone; over images in the memory layout `torch.channels_last`.

On a CPU, this layout, torch's own normalisation kernel and a periodic padding that preserves the layout
reduce the time of a training step of a small U-Net to three quarters (`benchmarks/unet.py`).

U-Net: Ronneberger, Fischer and Brox (2015), https://arxiv.org/abs/1505.04597.
"""

from __future__ import annotations

import torch
from azula.nn.layers import LayerNorm
from azula.nn.unet import UNet
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._attention import attend_at
from plumbline.networks._blocks import AxisPadding, ChannelNorm, GridBackbone

LAYOUTS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
"""Memory layout of tensors (B, C, *grid), by the number of dimensions of the grid."""


class UNetBackbone(GridBackbone):
    """A U-Net over samples (B, ..., *grid); all dimensions before the grid count as channels.

    The channels of a field that samples are conditioned on are further input channels.

    Args:
        sample: the shape of samples; convolutions are circular along its periodic axes.
        grid_dimensions: number of dimensions of the grid, from one to three.
        channels: channels at each depth; each depth halves the grid.
        blocks: residual blocks at each depth, for the encoder and the decoder each.
        embedding: dimension of the embedding of noise level and condition.
        dropout: fraction of features dropped in training.
        attention: depths, from zero, whose blocks are followed by self-attention.

    Raises:
        ValueError: the grid cannot be halved once per depth after the first, or a sample has fewer dimensions
            than the grid.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        grid_dimensions: int = 2,
        channels: tuple[int, ...] = (32, 64, 128),
        blocks: tuple[int, ...] = (2, 2, 2),
        embedding: int = 64,
        dropout: float = 0.0,
        attention: tuple[int, ...] = (),
    ) -> None:
        super().__init__(sample, grid_dimensions=grid_dimensions, embedding=embedding)
        halvings = 2 ** (len(channels) - 1)
        if any(size % halvings for size in self.sizes):
            raise ValueError(
                f"a U-Net of depth {len(channels)} needs a grid divisible by {halvings}, found {self.sizes}."
            )
        self.layout = LAYOUTS[grid_dimensions]
        self.unet = UNet(
            self.channels,
            self.channels * sample.outputs,
            cond_channels=self.field_channels,
            hid_channels=channels,
            hid_blocks=blocks,
            spatial=grid_dimensions,
            mod_features=embedding,
            dropout=dropout or None,
        )
        attend_at(self.unet, attention, channels)
        normalise_channels(self.unet)
        periodic = sample.periodic_axes(grid_dimensions)
        if any(periodic):
            pad_by_axis(self.unet, periodic)
        self.unet.to(memory_format=self.layout)

    def forward(
        self,
        x: Float[Tensor, "B *S"],
        level: Float[Tensor, "*B"],
        condition: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Float[Tensor, "B *O"]:
        """The network's output, of the shape of `x`, or (B, outputs, *S) if there are several outputs."""
        channels = self.with_field(x.view(-1, self.channels, *self.sizes), field)
        laid_out = channels.contiguous(memory_format=self.layout)
        output = self.unet(laid_out, self.embedding(level, condition))
        return output.contiguous().view(-1, *self.shape)


def normalise_channels(network: nn.Module) -> None:
    """Replaces every azula `LayerNorm` in the network by a `ChannelNorm`, in place."""
    for name, child in list(network.named_children()):
        if isinstance(child, LayerNorm):
            setattr(network, name, ChannelNorm())
        else:
            normalise_channels(child)


def pad_by_axis(network: nn.Module, periodic: tuple[bool, ...]) -> None:
    """Replaces the zero padding of every convolution in the network by an `AxisPadding`, in place."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            amount = tuple(int(width) for width in child.padding)
            child.padding = (0,) * len(amount)
            child._reversed_padding_repeated_twice = [0] * (2 * len(amount))
            setattr(network, name, PaddedConvolution(AxisPadding(amount, periodic), child))
        else:
            pad_by_axis(child, periodic)


class PaddedConvolution(nn.Sequential):
    """A padding layer followed by a convolution."""

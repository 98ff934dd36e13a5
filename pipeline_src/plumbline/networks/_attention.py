r"""Self-attention between the points of a grid, for networks of convolutions.

With the features h_i of the points i, normalised over channels at each point,

    x_i + W sum_j softmax_j(q_i . k_j / sqrt(c)) v_j,    (q_i, k_i, v_i) = W' h_i,

with one head over all c channels and W = 0 at the start, as in NCSN++ (Song et al. 2021,
https://arxiv.org/abs/2011.13456), which has group normalisation instead. Time and memory grow with the square
of the number of points.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from azula.nn.unet import UNet, UNetBlock
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks._blocks import ChannelNorm


class SelfAttention(nn.Module):
    """Features (B, C, *grid) plus what each point attends to.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm()
        self.inputs, self.outputs = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, x: Float[Tensor, "B C *G"]) -> Float[Tensor, "B C *G"]:
        """The features after the attention, in the memory layout of `x`."""
        points = self.norm(x).flatten(2).mT
        q, k, v = self.inputs(points).unsqueeze(1).chunk(3, dim=-1)
        attended = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.outputs(attended).mT.unflatten(2, x.shape[2:])


def attend_at(network: UNet, depths: tuple[int, ...], channels: tuple[int, ...]) -> None:
    """Puts a self-attention behind each residual block of these depths, in place.

    Args:
        network: azula's U-Net.
        depths: the depths, from zero.
        channels: channels at each depth of the network.
    """
    for depth in depths:
        for blocks in (network.descent[depth], network.ascent[len(channels) - 1 - depth]):
            layers = cast("nn.ModuleList", blocks)
            for place in reversed(range(len(layers))):
                if isinstance(layers[place], UNetBlock):
                    layers.insert(place + 1, SelfAttention(channels[depth]))

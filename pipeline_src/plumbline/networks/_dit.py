"""azula's diffusion transformer with the interface of a backbone.

DiT: Peebles and Xie (2022), https://arxiv.org/abs/2212.09748, over patches as in ViT (Dosovitskiy et al.
2021, https://arxiv.org/abs/2010.11929).
"""

from __future__ import annotations

from azula.nn.vit import ViT
from jaxtyping import Float
from torch import Tensor

from plumbline.networks import SampleShape
from plumbline.networks._blocks import GridBackbone


class TransformerBackbone(GridBackbone):
    """A transformer over the patches of samples (B, ..., *grid); dimensions before the grid are channels.

    Each patch attends to all others. The positions of patches are absolute (sines and cosines of their
    indices), so that a shift along a periodic axis does not shift the output, unlike with `UNetBackbone`. The
    channels of a field that samples are conditioned on are further input channels.

    Args:
        sample: the shape of samples.
        grid_dimensions: number of dimensions of the grid, from one to three.
        patch: grid points of a patch along each axis.
        width: features of a patch; even, and a multiple of `heads`.
        blocks: number of transformer blocks.
        heads: number of attention heads.
        embedding: dimension of the embedding of noise level and condition.
        dropout: fraction of features dropped in training.

    Raises:
        ValueError: patches do not fill the grid, or a sample has fewer dimensions than the grid.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        grid_dimensions: int = 2,
        patch: int = 4,
        width: int = 128,
        blocks: int = 4,
        heads: int = 4,
        embedding: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(sample, grid_dimensions=grid_dimensions, embedding=embedding)
        if any(size % patch for size in self.sizes):
            raise ValueError(
                f"a `dit` with `patch: {patch}` needs a grid divisible by {patch}, found {self.sizes}."
            )
        self.transformer = ViT(
            self.channels,
            self.channels * sample.outputs,
            cond_channels=self.field_channels,
            mod_features=embedding,
            hid_channels=width,
            hid_blocks=blocks,
            spatial=grid_dimensions,
            patch_size=patch,
            attention_heads=heads,
            dropout=dropout or None,
        )

    def forward(
        self,
        x: Float[Tensor, "B *S"],
        level: Float[Tensor, "*B"],
        condition: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Float[Tensor, "B *O"]:
        """The network's output, of the shape of `x`, or (B, outputs, *S) if there are several outputs."""
        channels = self.with_field(x.reshape(-1, self.channels, *self.sizes), field)
        output = self.transformer(channels, self.embedding(level, condition))
        return output.reshape(-1, *self.shape)

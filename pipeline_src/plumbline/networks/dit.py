"""A transformer over patches of a grid, from azula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.networks import GridNetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._dit import TransformerBackbone


class DiTSpec(GridNetworkSpec):
    """azula's diffusion transformer (DiT; Peebles and Xie 2022, https://arxiv.org/abs/2212.09748).

    It attends over all patches of the grid. Their positions are absolute: along a periodic axis, it has to
    learn that the last patch is next to the first.
    """

    kind: Literal["dit"] = "dit"
    patch: int = key("grid points", ge=1, default=4)
    """Grid points of a patch along each axis; the cost grows with the square of the number of patches."""
    width: int = key("features", ge=2, default=128)
    """Features of a patch; even, and a multiple of `heads`."""
    blocks: int = key(ge=1, default=4)
    """Number of transformer blocks."""
    heads: int = key(ge=1, default=4)
    """Number of attention heads."""
    embedding: int = key(ge=8, default=64)
    """Dimension of the embedding of noise level and condition."""
    dropout: float = key(ge=0, lt=1, default=0.0)
    """Fraction of features dropped in training."""

    @model_validator(mode="after")
    def _width_of_heads(self) -> DiTSpec:
        if self.width % 2 or self.width % self.heads:
            raise ValueError(
                f"`width` must be even and a multiple of `heads` ({self.heads}), found {self.width}"
            )
        return self

    def build(self, sample: SampleShape) -> TransformerBackbone:
        from plumbline.networks._dit import TransformerBackbone

        return TransformerBackbone(
            sample,
            grid_dimensions=self.grid_dimensions,
            patch=self.patch,
            width=self.width,
            blocks=self.blocks,
            heads=self.heads,
            embedding=self.embedding,
            dropout=self.dropout,
        )

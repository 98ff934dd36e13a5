"""A U-Net for fields on a grid, from azula, with periodic padding along periodic axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.networks import GridNetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._unet import UNetBackbone


class UNetSpec(GridNetworkSpec):
    """azula's modulated U-Net, with circular padding along the periodic axes of the data."""

    kind: Literal["unet"] = "unet"
    channels: tuple[Annotated[int, Field(gt=0)], ...] = (32, 64, 128)
    """Channels at each depth; each depth halves the grid."""
    blocks: tuple[Annotated[int, Field(gt=0)], ...] = (2, 2, 2)
    """Residual blocks at each depth, for the encoder and the decoder each."""
    embedding: int = key(ge=8, default=64)
    """Dimension of the embedding of noise level and condition."""
    dropout: float = key(ge=0, lt=1, default=0.0)
    """Fraction of features dropped in training."""
    attention: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Depths, counted from zero, whose residual blocks are followed by self-attention between all points of
    the grid; its cost grows with the square of their number."""

    @model_validator(mode="after")
    def _one_block_count_a_depth(self) -> UNetSpec:
        if len(self.channels) != len(self.blocks) or not self.channels:
            raise ValueError(
                "`channels` and `blocks` must have the same length, "
                f"found {len(self.channels)} and {len(self.blocks)}"
            )
        if self.attention and max(self.attention) >= len(self.channels):
            raise ValueError(
                f"`attention` counts depths from zero and there are {len(self.channels)}, found "
                f"{list(self.attention)}"
            )
        return self

    def build(self, sample: SampleShape) -> UNetBackbone:
        from plumbline.networks._unet import UNetBackbone

        return UNetBackbone(
            sample,
            grid_dimensions=self.grid_dimensions,
            channels=self.channels,
            blocks=self.blocks,
            embedding=self.embedding,
            dropout=self.dropout,
            attention=self.attention,
        )

"""The residual generator of CycleGAN (Zhu et al. 2017), which Feng, Baptista, Bouman (2025) invert mirror maps by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._resnet import ResNetGenerator


class ResNetSpec(NetworkSpec):
    """A generator with residual blocks at a quarter of the resolution. Unlike the published one it knows noise levels."""

    kind: Literal["resnet"] = "resnet"
    channels: int = key(ge=1, default=64)
    """Channels at full resolution; each of two halvings doubles them."""
    blocks: int = key(ge=1, default=6)
    """Residual blocks."""
    norm: Literal["none", "instance"] = "none"
    """Instance normalisation (published) makes the network blind to the amplitude of its input."""
    padding: Literal["by_axis", "zeros"] = "by_axis"
    """Circular along the periodic axes of the data and zeros along the others, or zeros along all (published)."""
    doubling: Literal["repeated", "transposed"] = "repeated"
    """Resolution is doubled by repetition and a convolution, or by a transposed one (published), cheaper by a quarter."""
    dropout: float = key(ge=0, lt=1, default=0.0)
    """Share of features dropped in training (published: a half)."""
    embedding: int = key(ge=0, default=64)
    """Features of noise level and condition, which shift and scale every block; 0 ignores both (published)."""

    def build(self, sample: SampleShape) -> ResNetGenerator:
        from plumbline.networks._resnet import ResNetGenerator

        return ResNetGenerator(
            sample,
            channels=self.channels,
            blocks=self.blocks,
            norm=self.norm,
            padding=self.padding,
            doubling=self.doubling,
            dropout=self.dropout,
            embedding=self.embedding,
        )

"""The residual generator of CycleGAN (Zhu et al. 2017), https://arxiv.org/abs/1703.10593.

Feng, Baptista and Bouman (2025), https://arxiv.org/abs/2406.12816, use it as the inverse of their mirror map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._resnet import ResNetGenerator


class ResNetSpec(NetworkSpec):
    """The CycleGAN generator: residual blocks at a quarter of the resolution.

    Unlike the published network, it is conditioned on the noise level by default.
    """

    kind: Literal["resnet"] = "resnet"
    channels: int = key(ge=1, default=64)
    """Channels at full resolution; each of two halvings doubles them."""
    blocks: int = key(ge=1, default=6)
    """Number of residual blocks."""
    norm: Literal["none", "instance", "affine_instance"] = "none"
    """Normalisation; `instance` makes the output independent of the input's amplitude, and `affine_instance`
    (published) has a learned scale and shift of each channel besides."""
    padding: Literal["by_axis", "zeros"] = "by_axis"
    """Padding: circular along periodic axes and zeros along others, or zeros along all axes (published)."""
    doubling: Literal["repeated", "transposed"] = "repeated"
    """Upsampling: repetition plus convolution, or a transposed convolution (published, a quarter cheaper)."""
    dropout: float = key(ge=0, lt=1, default=0.0)
    """Fraction of features dropped in training (published: 0.5)."""
    embedding: int = key(ge=0, default=64)
    """Dimension of the embedding of noise level and condition, input to all blocks; 0 (published): none."""
    initialisation: Literal["residual", "normal"] = "residual"
    """Initial weights: an output of zero, so that an inverse map starts as the identity, or weights of
    N(0, .02^2) (published)."""

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
            initialisation=self.initialisation,
        )

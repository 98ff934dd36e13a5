"""Convolutional encoders of images, whose layers halve the grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.networks import EncoderSpec, SampleShape
from plumbline.spec import Kind

if TYPE_CHECKING:
    from plumbline.networks._convolutional import ImageEncoder


OddSize = Annotated[int, Field(ge=3)]


class LayersSpec(Kind):
    """Base class of convolutional encoders and decoders, with layers in the order of the forward pass."""

    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 64), min_length=1)
    """Output channels of each layer; each layer halves the grid."""
    kernels: tuple[OddSize, ...] = Field(default=(3, 3), min_length=1)
    """Kernel size of each layer, odd."""

    @model_validator(mode="after")
    def _one_kernel_a_layer(self) -> LayersSpec:
        if len(self.kernels) != len(self.channels):
            raise ValueError(
                "`channels` and `kernels` must have the same length, "
                f"found {len(self.channels)} and {len(self.kernels)}"
            )
        even = [size for size in self.kernels if size % 2 == 0]
        if even:
            raise ValueError(f"`kernels` must be odd, found {even[0]}")
        return self


class ConvolutionalSpec(LayersSpec, EncoderSpec):
    """Convolutions of stride two with ReLUs, for encoders; each conditioning value is an input channel."""

    kind: Literal["convolutional"] = "convolutional"

    def encoder(self, sample: SampleShape, condition: int) -> ImageEncoder:
        from plumbline.networks._convolutional import ImageEncoder

        return ImageEncoder(sample, condition, channels=self.channels, kernels=self.kernels)

    def features_of(self, sample: SampleShape) -> int:
        from plumbline.networks._convolutional import coarse_grid

        return self.channels[-1] * math.prod(coarse_grid(sample, len(self.channels), self.kind)[1:])

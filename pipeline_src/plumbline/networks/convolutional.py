"""Convolutions that halve or double a grid at every layer: encoders and decoders of pictures."""

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
    """Layers of convolutions, in the order in which a sample or a vector passes them."""

    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(32, 64), min_length=1)
    """Channels of each layer, whose grid is half or twice as large as that of the one before."""
    kernels: tuple[OddSize, ...] = Field(default=(3, 3), min_length=1)
    """Odd side of the kernel of each layer."""

    @model_validator(mode="after")
    def _one_kernel_a_layer(self) -> LayersSpec:
        if len(self.kernels) != len(self.channels):
            raise ValueError(
                f"`channels` and `kernels` must name the same layers, found {len(self.channels)} and {len(self.kernels)}"
            )
        even = [size for size in self.kernels if size % 2 == 0]
        if even:
            raise ValueError(f"`kernels` must be odd, found {even[0]}")
        return self


class ConvolutionalSpec(LayersSpec, EncoderSpec):
    """Convolutions of stride two with a rectifier after each, for encoders; numbers that are told beside are channels of their own."""

    kind: Literal["convolutional"] = "convolutional"

    def encoder(self, sample: SampleShape, told: int) -> ImageEncoder:
        from plumbline.networks._convolutional import ImageEncoder

        return ImageEncoder(sample, told, channels=self.channels, kernels=self.kernels)

    def features_of(self, sample: SampleShape) -> int:
        from plumbline.networks._convolutional import coarse_grid

        return self.channels[-1] * math.prod(coarse_grid(sample, len(self.channels), self.kind)[1:])

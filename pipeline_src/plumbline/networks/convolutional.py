"""Convolutions that halve or double a grid at every layer: encoders and decoders of pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from plumbline.networks import ReaderSpec, SampleShape
from plumbline.spec import Kind

if TYPE_CHECKING:
    from plumbline.networks._convolutional import PictureReader


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

    def coarse(self, sample: SampleShape) -> tuple[int, int, int]:
        """Channels of samples, and height and width of their grid after all halvings.

        Raises:
            ValueError: the grid cannot be halved so often, or a sample has none.
        """
        from plumbline.networks._blocks import grid_of

        channels, height, width = grid_of(sample)
        factor = 2 ** len(self.channels)
        if height % factor or width % factor:
            raise ValueError(
                f"{len(self.channels)} layers of `{self.kind}` need a grid divisible by "
                f"{factor}, found {height} x {width}: name fewer `channels`."
            )
        return channels, height // factor, width // factor


class ConvolutionalSpec(LayersSpec, ReaderSpec):
    """Convolutions of stride two with a rectifier after each, for encoders; numbers that are told beside are channels of their own."""

    kind: Literal["convolutional"] = "convolutional"

    def reader(self, sample: SampleShape, told: int) -> PictureReader:
        from plumbline.networks._convolutional import PictureReader

        return PictureReader(self, sample, told)

    def features_of(self, sample: SampleShape) -> int:
        return self.channels[-1] * math.prod(self.coarse(sample)[1:])

"""Convolutional decoders of images, whose layers double the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from plumbline.networks import DecoderSpec, SampleShape
from plumbline.networks.convolutional import LayersSpec

if TYPE_CHECKING:
    from plumbline.networks._convolutional import ImageDecoder, ImageHead


class DeconvolutionalSpec(LayersSpec, DecoderSpec):
    """A linear layer to the coarsest grid, then transposed convolutions of stride two, for decoders.

    The last convolution outputs the image.
    """

    kind: Literal["deconvolutional"] = "deconvolutional"
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(64, 32), min_length=1)
    """Input channels of each layer; each layer doubles the grid."""

    def decoder(self, inputs: int, sample: SampleShape) -> ImageDecoder:
        from plumbline.networks._convolutional import ImageDecoder

        return ImageDecoder(inputs, sample, channels=self.channels, kernels=self.kernels)

    def head(self, sample: SampleShape, initial_std: float, min_std: float) -> ImageHead:
        from plumbline.networks._convolutional import ImageHead

        return ImageHead(
            self.channels[-1],
            sample,
            kernel=self.kernels[-1],
            initial_std=initial_std,
            min_std=min_std,
        )

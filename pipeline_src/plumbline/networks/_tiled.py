"""A network over single images, applied to trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape
from plumbline.networks._blocks import refuse_field


class TiledNetwork(nn.Module):
    """Applies a network over images (B, *C, rows H, columns W) to T = rows x columns states (B, T, *C, H, W).

    Convolutions over the image mix adjacent states, such as the right edge of one state with the left edge of
    the next. This layout is the published one; it is no better than states as channels.

    Args:
        sample: the shape of samples.
        columns: states per row of the image; the rows follow in time.
        build: builds the network over images, from their shape.

    Raises:
        ValueError: the number of states is no multiple of `columns`, a sample is no trajectory of
            fields, or the condition is a field.
    """

    def __init__(
        self, sample: SampleShape, *, columns: int, build: Callable[[SampleShape], nn.Module]
    ) -> None:
        super().__init__()
        if len(sample.shape) < 3 or sample.shape[0] % columns:
            raise ValueError(
                f"`tiled` needs trajectories of fields whose number of states is a multiple of {columns}, "
                f"found samples of shape {sample.shape}."
            )
        refuse_field(sample, "tiled")
        states, *channels, height, width = sample.shape
        self.shape, self.output_shape = sample.shape, sample.output_shape
        self.rows, self.columns = states // columns, columns
        image = (*channels, self.rows * height, self.columns * width)
        self.network = build(replace(sample, shape=image, periodic=(False, False)))

    def forward(
        self, x: Float[Tensor, "B *S"], level: Tensor | None = None, condition: Tensor | None = None
    ) -> Float[Tensor, "B *O"]:
        """The network's output for the image, split into states again."""
        image = self.network(self.image(x), level, condition)
        if self.output_shape == self.shape:
            return self.states(image)
        return self.states(image.flatten(0, 1)).view(-1, *self.output_shape)

    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *P"]:
        """The image of each sample, with its states arranged row by row."""
        cells = x.unflatten(1, (self.rows, self.columns)).movedim((1, 2), (-4, -2))
        return cells.flatten(-4, -3).flatten(-2, -1)

    def states(self, image: Float[Tensor, "B *P"]) -> Float[Tensor, "B *S"]:
        """The states in an image; inverts `image`."""
        height, width = self.shape[-2:]
        cells = image.unflatten(-1, (self.columns, width)).unflatten(-3, (self.rows, height))
        return cells.movedim((-4, -2), (1, 2)).flatten(1, 2)

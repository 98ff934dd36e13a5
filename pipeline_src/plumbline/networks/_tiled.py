"""A network of one picture as one of trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import SampleShape


class TiledNetwork(nn.Module):
    """A network over (B, *C, rows H, columns W) as one over states (B, T, *C, H, W), T = rows x columns.

    A picture mixes what touches in it, the right edge of one state with the left edge of the next: it is what is
    published, and no better than states as channels.

    Args:
        sample: the shape of samples.
        columns: states in a row of the picture; rows follow in time.
        build: makes the network of one picture, from its shape.

    Raises:
        ValueError: the states fill no whole number of rows, or a sample is no trajectory of fields.
    """

    def __init__(
        self, sample: SampleShape, *, columns: int, build: Callable[[SampleShape], nn.Module]
    ) -> None:
        super().__init__()
        if len(sample.shape) < 3 or sample.shape[0] % columns:
            raise ValueError(
                f"`tiled` needs states of fields, a whole number of rows of {columns}, found samples of shape "
                f"{sample.shape}."
            )
        states, *channels, height, width = sample.shape
        self.shape, self.output_shape = sample.shape, sample.output_shape
        self.rows, self.columns = states // columns, columns
        image = (*channels, self.rows * height, self.columns * width)
        self.network = build(replace(sample, shape=image, periodic=(False, False)))

    def forward(
        self, x: Float[Tensor, "B *S"], level: Tensor | None = None, condition: Tensor | None = None
    ) -> Float[Tensor, "B *O"]:
        """The network's output for the picture, cut into states again."""
        image = self.network(self.image(x), level, condition)
        if self.output_shape == self.shape:
            return self.states(image)
        return self.states(image.flatten(0, 1)).view(-1, *self.output_shape)

    def image(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *P"]:
        """The states of each sample, row by row."""
        cells = x.unflatten(1, (self.rows, self.columns)).movedim((1, 2), (-4, -2))
        return cells.flatten(-4, -3).flatten(-2, -1)

    def states(self, image: Float[Tensor, "B *P"]) -> Float[Tensor, "B *S"]:
        """The states of a picture."""
        height, width = self.shape[-2:]
        cells = image.unflatten(-1, (self.columns, width)).unflatten(-3, (self.rows, height))
        return cells.movedim((-4, -2), (1, 2)).flatten(1, 2)

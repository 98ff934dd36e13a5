"""The shape of samples, from which networks are built."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SampleShape:
    """The properties of samples that determine the layers of a backbone.

    For networks on a grid of d dimensions, the last d dimensions of a sample are the grid, and all dimensions
    before it count as channels. The same holds for the field that a sample is conditioned on.

    Attributes:
        shape: the shape of a sample.
        periodic: whether each of the last dimensions of a sample is periodic; dimensions before them are not.
        condition: dimension of the condition vector, zero if there is none.
        outputs: number of tensors of this shape that the backbone returns; if there are several, they are
            stacked along the first axis after the batch.
        field: the shape of the field that a sample is conditioned on; empty if there is none.
        shared: number of the last dimensions of `field` that are those of a sample.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    condition: int = 0
    outputs: int = 1
    field: tuple[int, ...] = ()
    shared: int = 0

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the backbone's output for one sample."""
        return self.shape if self.outputs == 1 else (self.outputs, *self.shape)

    def channels(self, dimensions: int) -> int:
        """Number of channels of a sample, if its grid has this many dimensions."""
        return math.prod(self.shape[:-dimensions])

    def field_channels(self, dimensions: int) -> int:
        """Number of channels of the field that a sample is conditioned on; zero if there is none.

        Raises:
            ValueError: the field lacks dimensions of the grid.
        """
        if not self.field:
            return 0
        if self.shared < dimensions:
            raise ValueError(
                f"`condition` is a field of shape {self.field} that shares {self.shared} dimensions with a "
                f"sample of shape {self.shape}, and the grid has {dimensions}: lower `grid_dimensions`, or "
                "repeat the condition along the other dimensions."
            )
        return math.prod(self.field[:-dimensions])

    def periodic_axes(self, dimensions: int) -> tuple[bool, ...]:
        """Whether each of the last `dimensions` dimensions is periodic."""
        return ((False,) * dimensions + self.periodic)[-dimensions:]

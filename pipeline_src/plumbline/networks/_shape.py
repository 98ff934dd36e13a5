"""The shape of samples, from which networks are built."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleShape:
    """The properties of samples that determine the layers of a backbone.

    Attributes:
        shape: the shape of a sample. For networks on a grid, the last two dimensions are the grid, and all
            dimensions before it count as channels.
        periodic: whether each of the last two dimensions is periodic.
        condition: dimension of the condition, zero if there is none.
        outputs: number of tensors of this shape that the backbone returns; if there are several, they are
            stacked along the first axis after the batch.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    condition: int = 0
    outputs: int = 1

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of the backbone's output for one sample."""
        return self.shape if self.outputs == 1 else (self.outputs, *self.shape)

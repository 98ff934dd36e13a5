"""What a network must know of the samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleShape:
    """What a backbone must know of the samples.

    Attributes:
        shape: the shape of a sample. Of three or more dimensions, the last two are the grid, and those
            before it channels.
        periodic: whether each of the last two dimensions is periodic.
        condition: numbers in the condition, zero if there is none.
        outputs: tensors of this shape that the backbone gives; of several, the first axis after the batch
            counts them.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    condition: int = 0
    outputs: int = 1

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what the backbone gives for a sample."""
        return self.shape if self.outputs == 1 else (self.outputs, *self.shape)

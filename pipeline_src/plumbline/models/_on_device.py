"""What a model keeps beside its parameters and buffers, on the device of the model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import chain
from typing import Self

from torch import Tensor, nn

from plumbline.constraints import Constraint


class WithConstraints(nn.Module):
    """A module whose constraints follow it to its device. They are attributes of the module."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        device = next(chain(self.parameters(), self.buffers())).device
        for name, value in list(vars(self).items()):
            if isinstance(value, Constraint):
                setattr(self, name, value.to(device))
        return self


class Counter:
    """Counts in a buffer () of a module, which is saved with it, and on the CPU.

    Reading the count therefore waits for a GPU only after the buffer was loaded or copied.
    """

    def __init__(self) -> None:
        self._buffer: weakref.ref[Tensor] | None = None
        self._version = self._count = 0

    def read(self, buffer: Tensor) -> int:
        """The count."""
        same = self._buffer is not None and self._buffer() is buffer
        if not same or self._version != buffer._version:
            self._note(buffer, int(buffer))
        return self._count

    def increment(self, buffer: Tensor) -> int:
        """Adds one to the buffer and returns the count."""
        count = self.read(buffer) + 1
        buffer += 1
        self._note(buffer, count)
        return count

    def set(self, buffer: Tensor, count: int) -> None:
        """Sets the buffer to a count."""
        buffer.fill_(count)
        self._note(buffer, count)

    def _note(self, buffer: Tensor, count: int) -> None:
        self._buffer, self._version, self._count = weakref.ref(buffer), buffer._version, count

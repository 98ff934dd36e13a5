"""The training loop, its log and its saved state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Trainable(Protocol):
    """A model that has a loss."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (), which the training minimises, and terms () for the log by name.

        Args:
            batch: tensors (B, ...) by name, `state` in the data's unit.
        """
        ...


@runtime_checkable
class UpdatesAfterStep(Protocol):
    """A model that changes after each step of the optimiser, such as the multipliers of constraints do."""

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Takes the terms () of the step's loss, by name, and updates the model in place."""
        ...

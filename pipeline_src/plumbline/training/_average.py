"""The exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn


class MovingAverage:
    """A copy of a model whose parameters and buffers are moving averages of the model's.

    The decay rises from a small value, min(decay, (1 + n) / (10 + n)) at update n, so that early weights are
    forgotten. The first update copies the model; integer buffers, such as counters, are copied each time.

    Args:
        model: the model.
        decay: the largest decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, updates: int) -> None:
        """Moves the average towards the model.

        Args:
            model: the model after a step.
            updates: number of updates so far. It is counted on the CPU, so that no step waits for the device.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates)) if updates else 0.0
        averages: list[Tensor] = []
        values: list[Tensor] = []
        for average, value in zip(_tensors(self.module), _tensors(model), strict=True):
            if decay and average.is_floating_point():
                averages.append(average)
                values.append(value.detach())
            else:
                average.copy_(value)
        if averages:
            torch._foreach_lerp_(averages, values, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over averages by name."""
        self.module.load_state_dict(state)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())

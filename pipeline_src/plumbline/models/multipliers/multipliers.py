"""Lagrange multipliers as a module, which stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Multipliers(nn.Module):
    """One multiplier a constraint.

    Attributes:
        values: the multipliers (m,), a buffer: they are saved, resumed and averaged with the weights.
    """

    values: Tensor

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("values", torch.tensor(list(values)))

    def terms(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The multipliers as terms for the log, by the names of their constraints."""
        return {f"multiplier_{name}": value for name, value in zip(names, self.values.clone(), strict=True)}

    def fit(self, shares: Float[Tensor, " m"], thresholds: Float[Tensor, " m"]) -> None:
        """Takes note, before the training, of shares in the data and thresholds; needed by closed forms alone."""
        del shares, thresholds

    def update(self, violations: Float[Tensor, " m"]) -> None:
        """Takes note of what a step found the constraints to be violated by; here they stay as they are."""
        del violations

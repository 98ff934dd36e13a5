"""The number that a trained network counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint


class LearnedCount(Constraint):
    """count(x) = n, with a trained counter.

    Args:
        name: name of the counter.
        count: n.
        counter: the trained model; None before `bind_models`.
    """

    unit = "count"

    def __init__(self, name: str, count: float, counter: Any = None) -> None:
        self.name, self.count, self.counter = name, count, counter
        # An image whose count rounds to n is feasible.
        self.tolerance = 0.5 / max(abs(count), 1.0)

    def bind_models(self, models: Mapping[str, Any]) -> LearnedCount:
        return LearnedCount(self.name, self.count, models[self.name]) if self.name in models else self

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """|count(x) - n| over n, or over one where n is less."""
        return self.residual(x).abs()[:, 0] / max(abs(self.count), 1.0)

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B 1"]:
        """count(x) - n.

        Raises:
            ValueError: the trained counter is not there.
        """
        if self.counter is None:
            raise ValueError(f"this constraint needs the trained counter {self.name!r}.")
        weight = next(self.counter.parameters())
        return (self.counter.to(x.device).count(x.to(weight.dtype)) - self.count)[:, None].to(x.dtype)

"""The number of objects in a sample, as counted by a trained network."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from plumbline._capabilities import require
from plumbline.constraints import Constraint, Counting


class LearnedCount(Constraint):
    """count(x) = n, where a trained network counts.

    Args:
        name: name of the counter.
        count: the target n.
        counter: the trained model; None before `bind_models`.
    """

    unit = "count"

    def __init__(self, name: str, count: float, counter: Counting | None = None) -> None:
        self.name, self.count, self.counter = name, count, counter
        # A sample whose count rounds to n is feasible.
        self.tolerance = 0.5 / max(abs(count), 1.0)

    def bind_models(self, models: Mapping[str, nn.Module]) -> LearnedCount:
        if self.name not in models:
            return self
        return LearnedCount(self.name, self.count, require(models[self.name], Counting, self.name))

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """|count(x) - n| / max(|n|, 1)."""
        return self.residual(x).abs()[:, 0] / max(abs(self.count), 1.0)

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B 1"]:
        """count(x) - n.

        Raises:
            ValueError: the trained counter is not bound.
        """
        if self.counter is None:
            raise ValueError(
                f"this constraint needs the trained counter {self.name!r}: pass it to `bind_models`."
            )
        weight = next(self.counter.parameters())
        return (self.counter.to(x.device).count(x.to(weight.dtype)) - self.count)[:, None].to(x.dtype)

"""Point objectives: errors of the law's mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.objectives import ObjectiveSpec

if TYPE_CHECKING:
    from torch import Tensor


class SquaredErrorSpec(ObjectiveSpec):
    """|E z - b|^2, summed over coordinates."""

    kind: Literal["squared_error"] = "squared_error"

    def loss(self, law: Any, target: Tensor) -> Tensor:
        return (law.mean - target).square().sum(-1)

    def power(self) -> int:
        return 2

    def fits_variance(self) -> bool:
        return True


class AbsoluteErrorSpec(ObjectiveSpec):
    """|E z - b|, summed over coordinates."""

    kind: Literal["absolute_error"] = "absolute_error"

    def loss(self, law: Any, target: Tensor) -> Tensor:
        return (law.mean - target).abs().sum(-1)

    def power(self) -> int:
        return 1

    def fits_variance(self) -> bool:
        return True

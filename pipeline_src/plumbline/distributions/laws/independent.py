"""No constraint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.laws import LawSpec

if TYPE_CHECKING:
    from torch import Tensor


class IndependentSpec(LawSpec):
    """Independent Gaussian coordinates, whatever the constraint says."""

    kind: Literal["independent"] = "independent"

    def law(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        from plumbline.distributions.independent_gaussian import IndependentGaussian

        del constraint
        return IndependentGaussian(mean, variance, validate_args=False)

    def constrains(self) -> bool:
        return False

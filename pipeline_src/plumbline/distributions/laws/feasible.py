"""Laws on the feasible set: conditioned, projected, completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.laws import LawSpec

if TYPE_CHECKING:
    from torch import Tensor


class ConditionedSpec(LawSpec):
    """The Gaussian given A z = k (Li et al. 2025): uncertain coordinates give way."""

    kind: Literal["conditioned"] = "conditioned"

    def law(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        return CorrectedGaussian(mean, variance, constraint, metric=variance, validate_args=False)

    def mean_uses_variance(self) -> bool:
        return True


class ProjectedSpec(LawSpec):
    """The Euclidean projection of the Gaussian (KKT-hPINN, Chen et al. 2024): all coordinates give way alike."""

    kind: Literal["projected"] = "projected"

    def law(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        import torch

        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        return CorrectedGaussian(mean, variance, constraint, torch.ones_like(mean), validate_args=False)


class CompletedSpec(LawSpec):
    """Equality completion: pivot coordinates are solved for, the others stay as they are.

    With the last coordinates as pivots it is the Constrained Layer (Stoian et al. 2024) in the order of the
    coordinates; with the first ones, in the reverse order.
    """

    kind: Literal["completed"] = "completed"
    pivots: Literal["first", "last"] = "last"
    """Which coordinates are solved for: the first ones, or the last ones, that the equality can be solved for."""

    def law(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        import torch

        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        pivots = constraint.pivots(last=self.pivots == "last").to(mean.device)
        metric = torch.zeros_like(mean)
        metric[..., pivots] = 1.0
        return CorrectedGaussian(mean, variance, constraint, metric, validate_args=False)

r"""Laws: how a mean and a variance a coordinate, as a network gives them, become a distribution of the state.

All but `independent` put it on the feasible set A z = k by a correction z + K (k - A z) of a free draw; they
differ in which coordinates give way (`plumbline.distributions.corrected_gaussian`). So one network, one head and
one training serve the constrained methods and their baselines alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from torch import Tensor


class LikelihoodSpec(Kind):
    """Base of the law kinds."""

    def distribution(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        """The distribution (*B, n) of mean (*B, n) and variance (*B, n) under a linear equality."""
        raise NotImplementedError

    def constrains(self) -> bool:
        """Whether the law lives on the feasible set."""
        return True

    def mean_uses_variance(self) -> bool:
        """Whether the law's mean depends on the variances, so that errors of the mean train them."""
        return False


AnyLikelihood = Annotated[LikelihoodSpec, ByKind()]


class ConditionedSpec(LikelihoodSpec):
    """The Gaussian given A z = k (Li et al. 2025): uncertain coordinates give way."""

    kind: Literal["conditioned"] = "conditioned"

    def distribution(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        return CorrectedGaussian(mean, variance, constraint, metric=variance, validate_args=False)

    def mean_uses_variance(self) -> bool:
        return True


class ProjectedSpec(LikelihoodSpec):
    """The Euclidean projection of the Gaussian (KKT-hPINN, Chen et al. 2024): all coordinates give way alike."""

    kind: Literal["projected"] = "projected"

    def distribution(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        import torch

        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        return CorrectedGaussian(mean, variance, constraint, torch.ones_like(mean), validate_args=False)


class CompletedSpec(LikelihoodSpec):
    """Equality completion: pivot coordinates are solved for, the others stay as they are.

    With the last coordinates as pivots it is the Constrained Layer (Stoian et al. 2024) in the order of the
    coordinates; with the first ones, in the reverse order.
    """

    kind: Literal["completed"] = "completed"
    pivots: Literal["first", "last"] = "last"
    """Which coordinates are solved for: the first ones, or the last ones, that the equality can be solved for."""

    def distribution(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        import torch

        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        pivots = constraint.pivots(last=self.pivots == "last").to(mean.device)
        metric = torch.zeros_like(mean)
        metric[..., pivots] = 1.0
        return CorrectedGaussian(mean, variance, constraint, metric, validate_args=False)


class IndependentSpec(LikelihoodSpec):
    """Independent Gaussian coordinates, whatever the constraint says."""

    kind: Literal["independent"] = "independent"

    def distribution(self, mean: Tensor, variance: Tensor, constraint: Any) -> Any:
        from plumbline.distributions.independent_gaussian import IndependentGaussian

        return IndependentGaussian(mean, variance, validate_args=False)

    def constrains(self) -> bool:
        return False

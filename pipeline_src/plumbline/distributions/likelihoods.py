r"""Likelihoods: the distribution of the state, given a mean and a variance per coordinate from a network.

All but `independent` are distributions on the feasible set A z = k: a free sample z becomes z + K (k - A z).
They differ in how much each coordinate changes (`plumbline.distributions.corrected_gaussian`). Constrained
methods and their baselines can therefore share the network, its output layer and the training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from plumbline.distributions import LinearConstraint, PredictiveDistribution
from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from torch import Tensor


class LikelihoodSpec(Kind):
    """Base of the likelihood kinds."""

    def distribution(
        self, mean: Tensor, variance: Tensor, constraint: LinearConstraint | None
    ) -> PredictiveDistribution:
        """The distribution of the state.

        Args:
            mean: the predicted mean (*B, n).
            variance: the predicted variance (*B, n).
            constraint: the linear equality; None without a constraint.

        Returns:
            A distribution with the batch shape *B and the event shape (n,).

        Raises:
            ValueError: the likelihood needs a constraint and there is none.
        """
        raise NotImplementedError

    def constrains(self) -> bool:
        """Whether all samples are on the feasible set."""
        return True

    def mean_uses_variance(self) -> bool:
        """Whether the mean depends on the variances, so that an error of the mean trains them."""
        return False

    def _required(self, constraint: LinearConstraint | None) -> LinearConstraint:
        """The equality.

        Raises:
            ValueError: there is none.
        """
        if constraint is None:
            raise ValueError(
                f"the likelihood `{self.kind}` needs a linear equality constraint, and there is none."
            )
        return constraint


AnyLikelihood = Annotated[LikelihoodSpec, ByKind()]


class ConditionedSpec(LikelihoodSpec):
    """The Gaussian given A z = k, which changes uncertain coordinates most (Li et al. 2025)."""

    kind: Literal["conditioned"] = "conditioned"

    def distribution(
        self, mean: Tensor, variance: Tensor, constraint: LinearConstraint | None
    ) -> PredictiveDistribution:
        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        equality = self._required(constraint)
        return CorrectedGaussian(mean, variance, equality, metric=variance, validate_args=False)

    def mean_uses_variance(self) -> bool:
        return True


class ProjectedSpec(LikelihoodSpec):
    """The Euclidean projection of the Gaussian.

    This is KKT-hPINN (Chen et al. 2024, https://arxiv.org/abs/2402.07251).
    """

    kind: Literal["projected"] = "projected"

    def distribution(
        self, mean: Tensor, variance: Tensor, constraint: LinearConstraint | None
    ) -> PredictiveDistribution:
        import torch

        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        equality = self._required(constraint)
        return CorrectedGaussian(mean, variance, equality, torch.ones_like(mean), validate_args=False)


class CompletedSpec(LikelihoodSpec):
    """Completion: the equality is solved for the pivot coordinates, and the others keep their values.

    With the last coordinates as pivots, this is the Constrained Layer (Stoian et al. 2024,
    https://arxiv.org/abs/2402.04823) in the order of the coordinates; with the first ones, in the reverse
    order.
    """

    kind: Literal["completed"] = "completed"
    pivots: Literal["first", "last"] = "last"
    """Pivots: the first or the last coordinates for which the equality can be solved."""

    def distribution(
        self, mean: Tensor, variance: Tensor, constraint: LinearConstraint | None
    ) -> PredictiveDistribution:
        import torch

        from plumbline.distributions.corrected_gaussian import CorrectedGaussian

        equality = self._required(constraint)
        pivots = equality.pivots(last=self.pivots == "last").to(mean.device)
        metric = torch.zeros_like(mean)
        metric[..., pivots] = 1.0
        return CorrectedGaussian(mean, variance, equality, metric, validate_args=False)


class IndependentSpec(LikelihoodSpec):
    """Independent Gaussian coordinates, without regard to the constraint."""

    kind: Literal["independent"] = "independent"

    def distribution(
        self, mean: Tensor, variance: Tensor, constraint: LinearConstraint | None
    ) -> PredictiveDistribution:
        from plumbline.distributions.independent_gaussian import IndependentGaussian

        return IndependentGaussian(mean, variance, validate_args=False)

    def constrains(self) -> bool:
        return False

r"""Objectives: training losses of a predictive distribution, given the true state.

Point objectives (`squared_error`, `absolute_error`) depend on the mean alone. Expected ones average over the
whole distribution in closed form (Li et al. 2025, https://arxiv.org/abs/2502.05416, Proposition 5.1).
`likelihood` uses the density, and `sampled` the loss of samples with a gradient estimator. A point objective
does not train the variance: `fits_variance` is then true, and the model fits the variance to the residuals by
maximum likelihood, without gradients to the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from plumbline.distributions import PredictiveDistribution
from plumbline.distributions.estimators import AnyEstimator
from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from torch import Tensor


class ObjectiveSpec(Kind):
    """Base of the objective kinds."""

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        """The loss (*B,) of a distribution with the event shape (n,) for the true states (*B, n)."""
        raise NotImplementedError

    def fits_variance(self) -> bool:
        """Whether the objective leaves the variance untrained, so that it needs a separate fit."""
        return False

    def power(self) -> int:
        """The power of the state's unit in the loss: two for squared errors, zero for likelihoods."""
        return 0


AnyObjective = Annotated[ObjectiveSpec, ByKind()]


class SquaredErrorSpec(ObjectiveSpec):
    """The squared error |E z - b|^2 of the mean, summed over coordinates."""

    kind: Literal["squared_error"] = "squared_error"

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        return (distribution.mean - target).square().sum(-1)

    def power(self) -> int:
        return 2

    def fits_variance(self) -> bool:
        return True


class AbsoluteErrorSpec(ObjectiveSpec):
    """The absolute error |E z - b| of the mean, summed over coordinates."""

    kind: Literal["absolute_error"] = "absolute_error"

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        return (distribution.mean - target).abs().sum(-1)

    def power(self) -> int:
        return 1

    def fits_variance(self) -> bool:
        return True


class ExpectedSquaredErrorSpec(ObjectiveSpec):
    """E|z - b|^2 in closed form, summed over coordinates; training shrinks the variances to their floor."""

    kind: Literal["expected_squared_error"] = "expected_squared_error"

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        return distribution.expected_l2(target).sum(-1)

    def power(self) -> int:
        return 2


class ExpectedAbsoluteErrorSpec(ObjectiveSpec):
    """E|z - b| in closed form, summed over coordinates; training shrinks the variances to their floor."""

    kind: Literal["expected_absolute_error"] = "expected_absolute_error"

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        return distribution.expected_l1(target).sum(-1)

    def power(self) -> int:
        return 1


class LikelihoodObjectiveSpec(ObjectiveSpec):
    """-log p(b), with the density on the feasible set for a constrained distribution."""

    kind: Literal["likelihood"] = "likelihood"

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        return -distribution.log_prob(target)


class SampledSpec(ObjectiveSpec):
    """The loss of samples, differentiated by a gradient estimator."""

    kind: Literal["sampled"] = "sampled"
    estimator: AnyEstimator
    """The gradient estimator."""
    error: Literal["squared", "absolute"] = "squared"
    """The loss of a sample: |z - b|^2 or |z - b|, summed over coordinates."""
    samples: int = key("samples", ge=1, default=1)
    """Number of samples to average over."""

    def loss(self, distribution: PredictiveDistribution, target: Tensor) -> Tensor:
        from plumbline.distributions.losses import AbsoluteLoss, SquaredLoss

        error = SquaredLoss(target) if self.error == "squared" else AbsoluteLoss(target)
        return self.estimator.surrogate(distribution, error, self.samples).mean(0)

    def power(self) -> int:
        return {"squared": 2, "absolute": 1}[self.error]

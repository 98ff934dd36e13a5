r"""Objectives: what a predictive law is trained by, given the true state.

Point objectives judge the mean alone; expected ones the whole law, in closed form (Li et al. 2025, Proposition
5.1); `likelihood` its density; `sampled` its samples, through a gradient estimator. Under a point objective nothing
trains the variance: `fits_variance` says so, and the model then fits it to the residuals by likelihood, with
gradients stopped before the mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from plumbline.distributions.estimators import AnyEstimator
from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from torch import Tensor


class ObjectiveSpec(Kind):
    """Base of the objective kinds."""

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        """The loss (*B,) of a law with the event shape (n,) for the true states (*B, n)."""
        raise NotImplementedError

    def fits_variance(self) -> bool:
        """Whether the variance needs a fit of its own."""
        return False

    def power(self) -> int:
        """The power of the state's unit that the loss is in: two for squared errors, zero for likelihoods."""
        return 0


AnyObjective = Annotated[ObjectiveSpec, ByKind()]


class SquaredErrorSpec(ObjectiveSpec):
    """|E z - b|^2, summed over coordinates."""

    kind: Literal["squared_error"] = "squared_error"

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        return (distribution.mean - target).square().sum(-1)

    def power(self) -> int:
        return 2

    def fits_variance(self) -> bool:
        return True


class AbsoluteErrorSpec(ObjectiveSpec):
    """|E z - b|, summed over coordinates."""

    kind: Literal["absolute_error"] = "absolute_error"

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        return (distribution.mean - target).abs().sum(-1)

    def power(self) -> int:
        return 1

    def fits_variance(self) -> bool:
        return True


class ExpectedSquaredErrorSpec(ObjectiveSpec):
    """E|z - b|^2 in closed form, summed over coordinates. Its variances shrink to their floor."""

    kind: Literal["expected_squared_error"] = "expected_squared_error"

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        return distribution.expected_l2(target).sum(-1)

    def power(self) -> int:
        return 2


class ExpectedAbsoluteErrorSpec(ObjectiveSpec):
    """E|z - b| in closed form, summed over coordinates. Its variances shrink to their floor."""

    kind: Literal["expected_absolute_error"] = "expected_absolute_error"

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        return distribution.expected_l1(target).sum(-1)

    def power(self) -> int:
        return 1


class LikelihoodSpec(ObjectiveSpec):
    """-log p(b): for a law on the feasible set, the density there."""

    kind: Literal["likelihood"] = "likelihood"

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        return -distribution.log_prob(target)


class SampledSpec(ObjectiveSpec):
    """The loss of samples, differentiated by a gradient estimator."""

    kind: Literal["sampled"] = "sampled"
    estimator: AnyEstimator
    """The gradient estimator."""
    error: Literal["squared", "absolute"] = "squared"
    """The loss of a sample: |z - b|^2 or |z - b|, summed over coordinates."""
    samples: int = key("draws", ge=1, default=1)
    """Draws that are averaged."""

    def loss(self, distribution: Any, target: Tensor) -> Tensor:
        from plumbline.distributions.losses import AbsoluteLoss, SquaredLoss

        error = SquaredLoss(target) if self.error == "squared" else AbsoluteLoss(target)
        return self.estimator.surrogate(distribution, error, self.samples).mean(0)

    def power(self) -> int:
        return {"squared": 2, "absolute": 1}[self.error]

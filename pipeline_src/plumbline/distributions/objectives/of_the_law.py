"""Objectives of the whole law: expected losses in closed form, likelihood, losses of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.estimators import AnyEstimator
from plumbline.distributions.objectives import ObjectiveSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import Tensor


class ExpectedSquaredErrorSpec(ObjectiveSpec):
    """E|z - b|^2 in closed form, summed over coordinates. Its variances shrink to their floor."""

    kind: Literal["expected_squared_error"] = "expected_squared_error"

    def loss(self, law: Any, target: Tensor) -> Tensor:
        return law.expected_l2(target).sum(-1)

    def power(self) -> int:
        return 2


class ExpectedAbsoluteErrorSpec(ObjectiveSpec):
    """E|z - b| in closed form, summed over coordinates. Its variances shrink to their floor."""

    kind: Literal["expected_absolute_error"] = "expected_absolute_error"

    def loss(self, law: Any, target: Tensor) -> Tensor:
        return law.expected_l1(target).sum(-1)

    def power(self) -> int:
        return 1


class LikelihoodSpec(ObjectiveSpec):
    """-log p(b): for a law on the feasible set, the density there."""

    kind: Literal["likelihood"] = "likelihood"

    def loss(self, law: Any, target: Tensor) -> Tensor:
        return -law.log_prob(target)


class SampledSpec(ObjectiveSpec):
    """The loss of samples, differentiated by a gradient estimator."""

    kind: Literal["sampled"] = "sampled"
    estimator: AnyEstimator
    """The gradient estimator."""
    error: Literal["squared", "absolute"] = "squared"
    """The loss of a sample: |z - b|^2 or |z - b|, summed over coordinates."""
    samples: int = key("draws", ge=1, default=1)
    """Draws that are averaged."""

    def loss(self, law: Any, target: Tensor) -> Tensor:
        from plumbline.distributions.losses import AbsoluteLoss, SquaredLoss

        error = SquaredLoss(target) if self.error == "squared" else AbsoluteLoss(target)
        return self.estimator.surrogate(law, error, self.samples).mean(0)

    def power(self) -> int:
        return {"squared": 2, "absolute": 1}[self.error]

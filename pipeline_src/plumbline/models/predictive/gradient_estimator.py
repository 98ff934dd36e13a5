"""A gradient estimator as a model: its single-sample gradients for the problems of `expectations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import AnyEstimator
from plumbline.models import BuildContext, FittedModelSpec, Predictive
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.predictive._gradient_estimator import GradientEstimator


class GradientEstimatorSpec(FittedModelSpec):
    """Single-sample gradients by an estimator: their mean, and their scatter about the exact gradient.

    Source: Li et al. (2025), Figure 3, https://arxiv.org/abs/2502.05416.
    """

    kind: Literal["gradient_estimator"] = "gradient_estimator"
    estimator: AnyEstimator
    """The estimator."""
    draws: int = key("gradients", ge=2, default=10000)
    """Number of gradients per problem."""

    def build(self, on: BuildContext) -> GradientEstimator:
        from plumbline.models.predictive._gradient_estimator import GradientEstimator

        if "matrix" not in on.example or "variance" not in on.example:
            raise ValueError(
                "`gradient_estimator` needs the dataset `expectations`, with `matrix` and `variance`."
            )
        return GradientEstimator(self.estimator, draws=self.draws)

    def provides(self) -> tuple[type, ...]:
        return (Predictive,)

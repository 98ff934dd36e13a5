"""A gradient estimator as something to draw from: its single-sample gradients of the problems of `expectations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import AnyEstimator
from plumbline.models import BuildContext, FittedModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.predictive._gradient_estimator import GradientEstimator


class GradientEstimatorSpec(FittedModelSpec):
    """Single-sample gradients by an estimator: their mean, and how they scatter about the exact gradient."""

    kind: Literal["gradient_estimator"] = "gradient_estimator"
    estimator: AnyEstimator
    """The estimator."""
    draws: int = key("gradients", ge=2, default=10000)
    """Gradients of each problem."""

    def build(self, on: BuildContext) -> GradientEstimator:
        from plumbline.models.predictive._gradient_estimator import GradientEstimator

        if "matrix" not in on.example or "variance" not in on.example:
            raise ValueError("gradient estimators are judged on the dataset `expectations`.")
        return GradientEstimator(self.estimator, draws=self.draws)

    def provides(self) -> tuple[str, ...]:
        return ("prediction",)

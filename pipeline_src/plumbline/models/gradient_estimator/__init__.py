"""A gradient estimator as something to draw from: its single-sample gradients of the problems of `expectations`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline.constraints import Constraint
from plumbline.distributions.estimators import AnyEstimator
from plumbline.models import FittedModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.models.gradient_estimator.model import GradientEstimator


class GradientEstimatorSpec(FittedModelSpec):
    """Single-sample gradients by an estimator: their mean, and how they scatter about the exact gradient."""

    kind: Literal["gradient_estimator"] = "gradient_estimator"
    estimator: AnyEstimator
    """The estimator."""
    draws: int = key("gradients", ge=2, default=10000)
    """Gradients of each problem."""

    def build(self, example: xr.Dataset, constraints: Mapping[str, Constraint]) -> GradientEstimator:
        from plumbline.models.gradient_estimator.model import GradientEstimator

        del constraints
        if "matrix" not in example or "variance" not in example:
            raise ValueError("gradient estimators are judged on the dataset `expectations`.")
        return GradientEstimator(self)

    def offers(self) -> tuple[str, ...]:
        return ("prediction",)

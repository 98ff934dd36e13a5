"""Estimators that go back through a sample, or through something in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.distributions.estimators import EstimatorSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class MarginalExpectationSpec(EstimatorSpec):
    """The gradient passes to the conditional mean: exact for location parameters, blind to the spread."""

    kind: Literal["marginal_expectation"] = "marginal_expectation"

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        mean = distribution.mean
        z = distribution.sample((samples,))
        return loss((z - mean).detach() + mean)


class ReparameterisedSpec(EstimatorSpec):
    """The gradient passes through the exact sample, free draw and correction alike: unbiased."""

    kind: Literal["reparameterised"] = "reparameterised"

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        return loss(_gaussian(distribution, self.kind).rsample((samples,)))


class StraightThroughSpec(EstimatorSpec):
    """The gradient passes through the free draw, as if the correction were not there."""

    kind: Literal["straight_through"] = "straight_through"

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        gaussian = _gaussian(distribution, self.kind)
        free, feasible = gaussian.draw_pair((samples,))
        return loss((feasible - free).detach() + free)


class ProjectionSpec(EstimatorSpec):
    """A free draw, moved to the nearest feasible point; the gradient passes through both."""

    kind: Literal["projection"] = "projection"

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        return loss(_gaussian(distribution, self.kind).projected((samples,)))


def _gaussian(distribution: Any, kind: str) -> Any:
    """The distribution, if it has differentiable samples."""
    if not distribution.has_rsample:
        name = type(distribution).__name__
        raise ValueError(f"`{kind}` needs differentiable samples, which a {name} does not have.")
    return distribution

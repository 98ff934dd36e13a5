r"""Estimators of the gradient of E[loss(z)] with respect to the parameters of a distribution of z.

An estimator gives a surrogate: its value estimates the expected loss, and its gradient, by automatic
differentiation, estimates that of the expectation. What the loss itself depends on (a decoder) is differentiated
through as usual, by every estimator. Notation: z ~ p(z | A z = k), f the loss, m' = E[z | A z = k].

| kind | forward | backward, in the distribution's parameters |
|---|---|---|
| `marginal_expectation` | exact sample | df/dz times the derivative of m' (Li et al. 2025) |
| `reparameterised` | exact sample | through the sample: unbiased |
| `score_function` | exact sample | (f - baseline) times the derivative of log p: unbiased |
| `straight_through` | exact sample | df/dz times the derivative of the free draw: biased |
| `projection` | projected free draw | through the projection: the expectation under another law |
| `closed_form` | none | of the expectation itself, where it has a closed form |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class EstimatorSpec(Kind):
    """Base of the estimator kinds."""

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        """Surrogates (samples, *B) of the expected loss of a distribution with the batch shape *B.

        Raises:
            ValueError: the distribution lacks what the estimator needs.
        """
        raise NotImplementedError


AnyEstimator = Annotated[EstimatorSpec, ByKind()]


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


class ScoreFunctionSpec(EstimatorSpec):
    """f grad log p(z | A z = k), and minus a baseline: the mean loss of other draws, which leaves it unbiased."""

    kind: Literal["score_function"] = "score_function"
    baseline_draws: int = key("draws", ge=0, default=0)
    """Further draws whose mean loss is the baseline; zero for none."""

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        z = distribution.sample((samples,))
        value = loss(z)
        weight = value.detach()
        if self.baseline_draws:
            others = distribution.sample((self.baseline_draws,)).detach()
            weight = weight - loss(others).detach().mean(0)
        log_prob = distribution.log_prob(z)
        return value + weight * (log_prob - log_prob.detach())


class ClosedFormSpec(EstimatorSpec):
    """The expected loss in closed form (Propositions 5.1 and 7.1), for absolute and squared losses."""

    kind: Literal["closed_form"] = "closed_form"

    def surrogate(self, distribution: Any, loss: Callable[[Tensor], Tensor], samples: int = 1) -> Tensor:
        expectation = getattr(loss, "expected", None)
        if expectation is None:
            raise ValueError("`closed_form` needs a loss with a known expectation: absolute or squared.")
        expected = expectation(distribution)
        return expected.expand(samples, *expected.shape)

r"""Estimators of the gradient of E[loss(z)] with respect to the parameters of the distribution of z.

An estimator returns a surrogate. Its value estimates the expected loss, and its gradient, by automatic
differentiation, estimates the gradient of the expected loss. Parameters of the loss itself, such as those of
a decoder, are differentiated as usual. Notation: z ~ p(z | A z = k), f the loss, m' = E[z | A z = k].

| kind | forward | gradient in the distribution's parameters |
|---|---|---|
| `marginal_expectation` | exact sample | df/dz times the derivative of m' |
| `reparameterised` | exact sample | through the sample: unbiased |
| `score_function` | exact sample | (f - baseline) times the derivative of log p: unbiased |
| `straight_through` | exact sample | df/dz times the derivative of the free sample: biased |
| `projection` | projected free sample | through the projection: expectation under another distribution |
| `closed_form` | none | of the expectation itself, if it has a closed form |

Sources: `marginal_expectation` and `closed_form` Li, Sahu, Van den Broeck, Zeng (2025,
https://arxiv.org/abs/2502.05416); `reparameterised` Kingma and Welling (2014,
https://arxiv.org/abs/1312.6114); `score_function` Williams (1992, https://doi.org/10.1007/BF00992696);
`straight_through` Bengio, Leonard, Courville (2013, https://arxiv.org/abs/1308.3432).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from plumbline.distributions import CorrectsDraws, PredictiveDistribution
from plumbline.spec import ByKind, Kind, key

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class EstimatorSpec(Kind):
    """Base of the estimator kinds."""

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        """Surrogates of the expected loss.

        Args:
            distribution: the distribution of z, with the batch shape *B.
            loss: the loss, from samples (S, *B, n) to (S, *B).
            samples: the number S of surrogates.

        Returns:
            The surrogates (S, *B).

        Raises:
            ValueError: the estimator does not support this distribution or loss.
        """
        raise NotImplementedError


AnyEstimator = Annotated[EstimatorSpec, ByKind()]


class MarginalExpectationSpec(EstimatorSpec):
    """The gradient passes through the conditional mean: exact for location, ignores the spread."""

    kind: Literal["marginal_expectation"] = "marginal_expectation"

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        mean = distribution.mean
        z = distribution.sample((samples,))
        return loss((z - mean).detach() + mean)


class ReparameterisedSpec(EstimatorSpec):
    """The gradient passes through the exact sample, that is, through free sample and correction: unbiased."""

    kind: Literal["reparameterised"] = "reparameterised"

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        _require_rsample(distribution, self.kind)
        return loss(distribution.rsample((samples,)))


class StraightThroughSpec(EstimatorSpec):
    """The gradient passes through the free sample and ignores the correction: biased."""

    kind: Literal["straight_through"] = "straight_through"

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        free, feasible = _corrected(distribution, self.kind).draw_pair((samples,))
        return loss((feasible - free).detach() + free)


class ProjectionSpec(EstimatorSpec):
    """A free sample, projected onto the feasible set; the gradient passes through sample and projection."""

    kind: Literal["projection"] = "projection"

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        return loss(_corrected(distribution, self.kind).projected((samples,)))


def _require_rsample(distribution: PredictiveDistribution, kind: str) -> None:
    """Checks that a distribution has differentiable samples.

    Raises:
        ValueError: it does not.
    """
    if not distribution.has_rsample:
        name = type(distribution).__name__
        raise ValueError(f"`{kind}` needs differentiable samples, which a {name} does not have.")


def _corrected(distribution: PredictiveDistribution, kind: str) -> CorrectsDraws:
    """The distribution, checked to correct differentiable free samples.

    Raises:
        ValueError: it does not.
    """
    _require_rsample(distribution, kind)
    if not isinstance(distribution, CorrectsDraws):
        name = type(distribution).__name__
        raise ValueError(
            f"`{kind}` needs a distribution that corrects free samples, which a {name} does not."
        )
    return distribution


class ScoreFunctionSpec(EstimatorSpec):
    """(f - baseline) grad log p(z | A z = k); the baseline is the mean loss of other samples: unbiased."""

    kind: Literal["score_function"] = "score_function"
    baseline_draws: int = key("samples", ge=0, default=0)
    """Number of further samples whose mean loss is the baseline; zero for no baseline."""

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        z = distribution.sample((samples,))
        value = loss(z)
        weight = value.detach()
        if self.baseline_draws:
            others = distribution.sample((self.baseline_draws,)).detach()
            weight = weight - loss(others).detach().mean(0)
        log_prob = distribution.log_prob(z)
        return value + weight * (log_prob - log_prob.detach())


class ClosedFormSpec(EstimatorSpec):
    """The expected absolute or squared loss in closed form (Li et al. 2025, Propositions 5.1 and 7.1)."""

    kind: Literal["closed_form"] = "closed_form"

    def surrogate(
        self, distribution: PredictiveDistribution, loss: Callable[[Tensor], Tensor], samples: int = 1
    ) -> Tensor:
        expectation = getattr(loss, "expected", None)
        if expectation is None:
            raise ValueError(
                "`closed_form` needs a loss with a known expectation: the absolute or the squared loss."
            )
        expected = expectation(distribution)
        return expected.expand(samples, *expected.shape)

"""Specs of shared outputs: a Gaussian head, and a likelihood that may restrict it to a feasible set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions.likelihoods import AnyLikelihood, LikelihoodSpec
from plumbline.distributions.objectives import AnyObjective, ObjectiveSpec
from plumbline.models import ModelSpec, Predictive
from plumbline.spec import key


@dataclass(frozen=True)
class Supervision:
    """How the distribution of an output is trained.

    Attributes:
        likelihood: turns mean and variance into a distribution.
        objective: the loss of the distribution, given the true state.
        penalty: weight of the mean squared residual of the equality, in the scaled space.
    """

    likelihood: LikelihoodSpec
    objective: ObjectiveSpec
    penalty: float = 0.0

    @property
    def variance_apart(self) -> bool:
        """Whether the variance is fitted to the errors by a separate term, because nothing else trains it."""
        return self.objective.fits_variance() and not self.likelihood.mean_uses_variance()


class EqualityModelSpec(ModelSpec):
    """Base of the models that predict the state, perhaps under a linear equality."""

    constraint: str | None = None
    """Name of the equality, one of the study's `constraints`."""

    def constraint_names(self) -> list[str]:
        return [self.constraint] if self.constraint else []

    def requires(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

    def provides(self) -> tuple[type, ...]:
        return (Predictive,)


class ConstrainedOutputSpec(EqualityModelSpec):
    """Base of the models whose output is a Gaussian that a likelihood may restrict to the feasible set."""

    likelihood: AnyLikelihood
    """How mean and variance become a distribution."""
    constraint: str | None = None
    """Name of the equality that the likelihood needs, one of the study's `constraints`."""
    initial_std: float = key("scaled space", gt=0, default=0.05)
    """Standard deviation of the output at the start of training, in the space that the network works in."""
    min_std: float = key("scaled space", gt=0, default=1e-3)
    """Lower bound of the standard deviation of each coordinate."""

    @model_validator(mode="after")
    def _constraint_where_needed(self) -> ConstrainedOutputSpec:
        if self.constraint is None and self.likelihood.constrains():
            raise ValueError(
                f"`likelihood` `{self.likelihood.kind}` needs `constraint`, the name of an equality of "
                "the study"
            )
        return self


class SupervisedOutputSpec(ConstrainedOutputSpec):
    """Base of the constrained outputs that are trained on the true state, optionally with a penalty."""

    objective: AnyObjective
    """The objective that the distribution is trained with."""
    penalty: float = key(ge=0, default=0.0)
    """Weight of the mean squared residual of the equality, in the scaled space (a soft constraint)."""

    @model_validator(mode="after")
    def _constraint_where_the_penalty_needs_it(self) -> SupervisedOutputSpec:
        if self.constraint is None and self.penalty:
            raise ValueError("`penalty` needs `constraint`, the name of an equality of the study")
        return self

    def supervision(self) -> Supervision:
        """Likelihood, objective and penalty."""
        return Supervision(self.likelihood, self.objective, self.penalty)


class FeasibleModelSpec(SupervisedOutputSpec):
    """Base of the supervised outputs whose state is scaled first."""

    scaling: Literal["per_feature", "global", "max_abs"] = "per_feature"
    """Scaling of the state: mean and std per feature, one of each, or maximum absolute value per feature."""

"""What models share at their output: heads, and laws on the feasible set, with the keys that choose them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from plumbline.distributions.likelihoods import AnyLikelihood, LikelihoodSpec
from plumbline.distributions.objectives import AnyObjective, ObjectiveSpec
from plumbline.models import ModelSpec
from plumbline.spec import key


@dataclass(frozen=True)
class Supervision:
    """What the distribution of an output is trained by.

    Attributes:
        law: how mean and variance become a distribution.
        objective: what the distribution is trained by, given the true state.
        penalty: weight of the mean squared shortfall of the equality, in the scaled space.
    """

    likelihood: LikelihoodSpec
    objective: ObjectiveSpec
    penalty: float = 0.0

    @property
    def variance_apart(self) -> bool:
        """Whether the variance is fitted to residuals by itself, as nothing else trains it."""
        return self.objective.fits_variance() and not self.likelihood.mean_uses_variance()


class ConstrainedOutputSpec(ModelSpec):
    """Base of the models whose output is a Gaussian that a law puts on the feasible set."""

    likelihood: AnyLikelihood
    """How mean and variance become a distribution."""
    constraint: str | None = None
    """Name of the equality that the law needs, one of the study's `constraints`."""
    initial_std: float = key("scaled space", gt=0, default=0.05)
    """Standard deviation that the law starts with, in the space that the network works in."""
    min_std: float = key("scaled space", gt=0, default=1e-3)
    """Standard deviation that no coordinate goes below."""

    @model_validator(mode="after")
    def _constraint_where_needed(self) -> ConstrainedOutputSpec:
        if self.constraint is None and self.likelihood.constrains():
            raise ValueError(
                f"`likelihood` `{self.likelihood.kind}` needs `constraint`, the name of an equality of the study"
            )
        return self

    def constraint_names(self) -> list[str]:
        return [self.constraint] if self.constraint else []

    def requires(self) -> tuple[str, ...]:
        return ("condition",)

    def provides(self) -> tuple[str, ...]:
        return ("prediction",)


class SupervisedOutputSpec(ConstrainedOutputSpec):
    """Base of those that are trained by an objective of the true state, and perhaps a penalty."""

    objective: AnyObjective
    """What the law is trained by."""
    penalty: float = key(ge=0, default=0.0)
    """Weight of the mean squared shortfall of the equality, in the scaled space (a soft constraint)."""

    @model_validator(mode="after")
    def _constraint_where_the_penalty_needs_it(self) -> SupervisedOutputSpec:
        if self.constraint is None and self.penalty:
            raise ValueError("`penalty` needs `constraint`, the name of an equality of the study")
        return self

    def supervision(self) -> Supervision:
        """Law, objective and penalty."""
        return Supervision(self.likelihood, self.objective, self.penalty)


class FeasibleModelSpec(SupervisedOutputSpec):
    """Base of those whose state is scaled first."""

    scaling: Literal["per_feature", "global", "max_abs"] = "per_feature"
    """Scaling of the state: mean and deviation a coordinate, one of each, or the largest absolute value."""

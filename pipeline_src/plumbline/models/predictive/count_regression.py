"""Regression of counts given a condition, with or without a known total."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.distributions.objectives import AnyObjective
from plumbline.models import BuildContext
from plumbline.models._output_specs import EqualityModelSpec
from plumbline.networks import AnyRegressor

if TYPE_CHECKING:
    from plumbline.models.predictive._count_regression import CountRegression


class CountRegressionSpec(EqualityModelSpec):
    """A network gives the rates of Poisson counts, which may be given their total (Li et al. 2025).

    Source: https://arxiv.org/abs/2502.05416, section 7. With `likelihood: conditioned`, the objective
    `likelihood` and a linear network (`perceptron` with one layer and `activation: none`), this is
    multinomial regression.
    """

    kind: Literal["count_regression"] = "count_regression"
    network: AnyRegressor
    """Network from the standardised condition to features."""
    likelihood: Literal["conditioned", "independent"] = "conditioned"
    """The distribution of the counts: Poisson given their total, which is multinomial, or independent
    Poisson. An independent one with a `constraint` has the total as its exposure: rates are multiples of
    it."""
    constraint: str | None = None
    """Name of the total, one of the study's `constraints`: an equality that gives the sum of all counts, such
    as `conserved` with a `total`."""
    objective: AnyObjective
    """The objective that the distribution is trained with. Those that fit a variance apart do not do so here:
    the variance of counts follows from their mean."""

    @model_validator(mode="after")
    def _a_total_to_condition_on(self) -> CountRegressionSpec:
        if self.likelihood == "conditioned" and self.constraint is None:
            raise ValueError(
                "`likelihood: conditioned` needs `constraint`, the name of the counts' total among the "
                "study's constraints"
            )
        return self

    def build(self, on: BuildContext) -> CountRegression:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.predictive._count_regression import CountRegression

        return CountRegression(
            sample_shape(on.example),
            network=self.network.build,
            features=self.network.features(),
            objective=self.objective,
            total=on.linear(self.constraint),
            conditioned=self.likelihood == "conditioned",
        )

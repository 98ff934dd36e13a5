"""A learned distribution of portfolios, under the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import AnyEstimator, ReparameterisedSpec
from plumbline.models import BuildContext
from plumbline.models._output_specs import ConstrainedOutputSpec
from plumbline.models.predictive._portfolio_specs import window_shape
from plumbline.networks import AnyRegressor
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import nn


class PortfolioSpec(ConstrainedOutputSpec):
    """A network gives a mean and a variance an asset; a law puts the weights on the budget.

    Trained by the Sharpe ratio of the following window, which is no point-wise loss: an estimator passes its gradient.
    """

    kind: Literal["portfolio"] = "portfolio"
    network: AnyRegressor
    """The network, from the window of returns to features."""
    estimator: AnyEstimator = ReparameterisedSpec()
    """How gradients pass the drawn weights."""
    draws: int = key(ge=1, default=4)
    """Draws of the weights a sample and step."""
    initial_std: float = key(gt=0, default=0.02)
    """Standard deviation of the weights that the law starts with."""

    def build(self, on: BuildContext) -> nn.Module:
        from plumbline.models.predictive._portfolio import Portfolio

        return Portfolio(
            window_shape(on.example),
            network=self.network.build,
            features=self.network.features(),
            likelihood=self.likelihood,
            constraint=on.constraint(self.constraint),
            estimator=self.estimator,
            draws=self.draws,
            initial_std=self.initial_std,
            min_std=self.min_std,
        )

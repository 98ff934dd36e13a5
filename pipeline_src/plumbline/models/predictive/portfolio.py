"""A learned distribution of portfolios under the budget."""

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
    """A network gives a mean and a variance per asset; a likelihood restricts the weights to the budget.

    It is trained on the Sharpe ratio of the following window, after Wang et al. (ICML 2023,
    https://arxiv.org/abs/2407.13917). This is not a point-wise loss, so an estimator provides its gradient.
    """

    kind: Literal["portfolio"] = "portfolio"
    network: AnyRegressor
    """Network from the window of returns to features."""
    estimator: AnyEstimator = ReparameterisedSpec()
    """Estimator of the gradient through the sampled weights."""
    draws: int = key(ge=1, default=4)
    """Samples of the weights per training sample and step."""
    initial_std: float = key(gt=0, default=0.02)
    """Standard deviation of the weights at the start of training."""

    def build(self, on: BuildContext) -> nn.Module:
        from plumbline.models.predictive._portfolio import Portfolio

        return Portfolio(
            window_shape(on.example),
            network=self.network.build,
            features=self.network.features(),
            likelihood=self.likelihood,
            constraint=on.linear(self.constraint),
            estimator=self.estimator,
            draws=self.draws,
            initial_std=self.initial_std,
            min_std=self.min_std,
        )

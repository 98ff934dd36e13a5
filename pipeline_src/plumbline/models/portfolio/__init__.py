"""Portfolios from a window of returns: learned ones, trained by the Sharpe ratio that follows, and fixed rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.coordinates import require_last
from plumbline.distributions.estimators import AnyEstimator, ReparameterisedSpec
from plumbline.models import FittedModelSpec, Foundation, ModelSpec
from plumbline.models.outputs import LawModelSpec
from plumbline.networks import AnyRegressor
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import nn


def window_shape(example: xr.Dataset) -> tuple[int, ...]:
    """Days and assets of the windows that portfolios are decided by.

    Raises:
        ValueError: the dataset has no windows, or not of the assets of the state.
    """
    for name in ("window", "future"):
        if name in example:
            require_last(example[name], str(example["state"].dims[-1]), "a portfolio")
        shape = example[name].shape if name in example else ()
        if len(shape) != 3 or example["state"].shape[1:] != shape[2:]:
            raise ValueError(
                f"a portfolio needs a state (sample, asset), `window` and `future` (sample, day, asset), as `sp500_windows` has: "
                f"found `{name}` of the shape {shape}, and a state of the shape {example['state'].shape}."
            )
    return tuple(example["window"].shape[1:])


class PortfolioSpec(LawModelSpec):
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
    initial_deviation: float = key(gt=0, default=0.02)
    """Standard deviation of the weights that the law starts with."""

    def build(self, on: Foundation) -> nn.Module:
        from plumbline.models.portfolio.learned import Portfolio

        return Portfolio(self, window_shape(on.example), on.constraint(self.constraint))


class SoftmaxPortfolioSpec(ModelSpec):
    """A network whose softmax is the weights: positive, summing to one, without a distribution."""

    kind: Literal["softmax_portfolio"] = "softmax_portfolio"
    network: AnyRegressor
    """The network, from the window of returns to features."""

    def build(self, on: Foundation) -> nn.Module:
        from plumbline.models.portfolio.learned import SoftmaxPortfolio

        return SoftmaxPortfolio(self, window_shape(on.example))

    def offers(self) -> tuple[str, ...]:
        return ("prediction",)


class PortfolioRuleSpec(FittedModelSpec):
    """A rule without training: equal weights, or skfolio's mean-variance optimiser on the window."""

    kind: Literal["portfolio_rule"] = "portfolio_rule"
    rule: Literal["equal_weights", "maximum_sharpe", "minimum_variance"]
    """Equal weights, or skfolio's long-only portfolio of the largest Sharpe ratio or least variance in the window."""

    def build(self, on: Foundation) -> nn.Module:
        from plumbline.models.portfolio.rules import PortfolioRule

        window_shape(on.example)
        return PortfolioRule(self.rule)

    def offers(self) -> tuple[str, ...]:
        return ("prediction",)

r"""Portfolios trained by the Sharpe ratio of the window that follows (after LinSATNet, Wang et al., ICML 2023).

The loss of weights w is minus the annualised Sharpe ratio of the daily returns R w of the future window,

    -(252 mean(R w) - r_f) / (sqrt(252) std(R w)),

with the risk-free rate r_f of 3% that the publication uses.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.predictive.portfolio import PortfolioSpec
from plumbline.models.predictive.softmax_portfolio import SoftmaxPortfolioSpec
from plumbline.networks._blocks import GaussianHead

TRADING_DAYS = 252
RISK_FREE = 0.03


def sharpe_ratio(weights: Float[Tensor, "*C n"], returns: Float[Tensor, "B days n"]) -> Float[Tensor, "*C"]:
    """The annualised Sharpe ratio of each portfolio, constant weights rebalanced daily."""
    daily = (returns @ weights[..., None]).squeeze(-1)
    deviation, mean = torch.std_mean(daily, dim=-1)
    return (TRADING_DAYS * mean - RISK_FREE) / (math.sqrt(TRADING_DAYS) * deviation.clamp(min=1e-6))


class _WindowNetwork(nn.Module):
    """Features of a window of returns, each asset's scaled by its deviation in the train split."""

    scale: Tensor

    def __init__(self, spec: PortfolioSpec | SoftmaxPortfolioSpec, window: tuple[int, ...]) -> None:
        super().__init__()
        self.assets = window[-1]
        self.network = spec.network.build(math.prod(window))
        self.register_buffer("scale", torch.ones(self.assets))

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the scale of each asset's returns."""
        self.scale.copy_(data["window"].std((0, 1)))

    def features(self, batch: dict[str, Tensor]) -> Tensor:
        """The features (B, F)."""
        return self.network((batch["window"] / self.scale).flatten(1))


class Portfolio(_WindowNetwork):
    """The law of the weights given a window."""

    def __init__(self, spec: PortfolioSpec, window: tuple[int, ...], constraint: Any) -> None:
        super().__init__(spec, window)
        self.spec, self.constraint = spec, constraint
        self.head = GaussianHead(
            spec.network.features(), self.assets, spec.initial_deviation, spec.smallest_deviation
        )
        nn.init.constant_(self.head.mean.bias, 1 / self.assets)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the expected Sharpe ratio, by draws."""
        surrogate = self.spec.estimator.surrogate(
            self._law(batch), lambda w: -sharpe_ratio(w, batch["future"]), self.spec.draws
        )
        loss = surrogate.mean()
        return loss, {"sharpe": -loss.detach()}

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The decision: the law's mean."""
        return {"state": self._law(batch).mean}

    def _law(self, batch: dict[str, Tensor]) -> Any:
        mean, variance = self.head(self.features(batch))
        return self.spec.law.law(mean, variance, self.constraint)


class SoftmaxPortfolio(_WindowNetwork):
    """Weights by softmax."""

    def __init__(self, spec: SoftmaxPortfolioSpec, window: tuple[int, ...]) -> None:
        super().__init__(spec, window)
        self.head = nn.Linear(spec.network.features(), self.assets)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the Sharpe ratio."""
        loss = -sharpe_ratio(self.predict(batch)["state"], batch["future"]).mean()
        return loss, {"sharpe": -loss.detach()}

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The decision."""
        return {"state": self.head(self.features(batch)).softmax(-1)}

r"""Portfolios trained on the Sharpe ratio of the following window (after LinSATNet, Wang et al., ICML 2023).

The loss of weights w is minus the annualised Sharpe ratio of the daily returns R w of the future window,

    -(252 mean(R w) - r_f) / (sqrt(252) std(R w)),

with the published risk-free rate r_f of 3%.

Source: https://arxiv.org/abs/2407.13917.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions import PredictiveDistribution
from plumbline.distributions.estimators import EstimatorSpec
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.models._moments import RunningMoments
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.networks._blocks import GaussianHead

TRADING_DAYS = 252
RISK_FREE = 0.03


def sharpe_ratio(weights: Float[Tensor, "*C n"], returns: Float[Tensor, "B days n"]) -> Float[Tensor, "*C"]:
    """The annualised Sharpe ratio of each portfolio, with constant weights rebalanced daily."""
    daily = (returns @ weights[..., None]).squeeze(-1)
    std, mean = torch.std_mean(daily, dim=-1)
    return (TRADING_DAYS * mean - RISK_FREE) / (math.sqrt(TRADING_DAYS) * std.clamp(min=1e-6))


class _WindowNetwork(PreparedInBlocks, nn.Module):
    """Features of a window of returns, each asset scaled by its standard deviation in the train split."""

    scale: Tensor

    def __init__(self, window: tuple[int, ...], network: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.assets = window[-1]
        self.network = network(math.prod(window))
        self.register_buffer("scale", torch.ones(self.assets))

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scale of each asset's returns."""
        moments = RunningMoments()
        for block in blocks:
            moments.add(block["window"].flatten(0, 1))
        self.scale.copy_(moments.std)

    def features(self, batch: dict[str, Tensor]) -> Tensor:
        """The features (B, F)."""
        return self.network((batch["window"] / self.scale).flatten(1))


class Portfolio(_WindowNetwork, WithConstraints):
    """The distribution of portfolio weights given a window.

    It is trained on the Sharpe ratio, after Wang et al. (ICML 2023, https://arxiv.org/abs/2407.13917).

    Args:
        window: days and assets of a window.
        network: builds a network from a flattened window to features.
        features: number of features.
        likelihood: turns mean and variance into a distribution.
        constraint: the budget.
        estimator: estimates the gradient through the sampled weights.
        draws: samples of the weights per training sample and step.
        initial_std: standard deviation of the weights at initialisation.
        min_std: lower bound of the standard deviation.
    """

    def __init__(
        self,
        window: tuple[int, ...],
        *,
        network: Callable[[int], nn.Module],
        features: int,
        likelihood: LikelihoodSpec,
        constraint: LinearEqualityConstraint | None,
        estimator: EstimatorSpec,
        draws: int = 4,
        initial_std: float = 0.02,
        min_std: float = 1e-3,
    ) -> None:
        super().__init__(window, network)
        self.likelihood, self.constraint, self.estimator, self.draws = (
            likelihood,
            constraint,
            estimator,
            draws,
        )
        self.head = GaussianHead(features, self.assets, initial_std, min_std)
        nn.init.constant_(self.head.mean.bias, 1 / self.assets)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the expected Sharpe ratio, estimated from samples of the weights."""
        surrogate = self.estimator.surrogate(
            self._distribution(batch), lambda w: -sharpe_ratio(w, batch["future"]), self.draws
        )
        loss = surrogate.mean()
        return loss, {"sharpe": -loss.detach()}

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights: the mean of the distribution."""
        return {"state": self._distribution(batch).mean}

    def _distribution(self, batch: dict[str, Tensor]) -> PredictiveDistribution:
        mean, variance = self.head(self.features(batch))
        return self.likelihood.distribution(mean, variance, self.constraint)


class SoftmaxPortfolio(_WindowNetwork):
    """Portfolio weights by a softmax.

    Args:
        window: days and assets of a window.
        network: builds a network from a flattened window to features.
        features: number of features.
    """

    def __init__(
        self, window: tuple[int, ...], *, network: Callable[[int], nn.Module], features: int
    ) -> None:
        super().__init__(window, network)
        self.head = nn.Linear(features, self.assets)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the Sharpe ratio."""
        loss = -sharpe_ratio(self.predict(batch)["state"], batch["future"]).mean()
        return loss, {"sharpe": -loss.detach()}

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights."""
        return {"state": self.head(self.features(batch)).softmax(-1)}

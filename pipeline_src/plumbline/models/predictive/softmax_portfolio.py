"""A learned portfolio with softmax weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, ModelSpec, Predictive
from plumbline.models.predictive._portfolio_specs import window_shape
from plumbline.networks import AnyRegressor

if TYPE_CHECKING:
    from torch import nn


class SoftmaxPortfolioSpec(ModelSpec):
    """A network whose softmax gives the weights, positive with a sum of one; there is no distribution."""

    kind: Literal["softmax_portfolio"] = "softmax_portfolio"
    network: AnyRegressor
    """Network from the window of returns to features."""

    def build(self, on: BuildContext) -> nn.Module:
        from plumbline.models.predictive._portfolio import SoftmaxPortfolio

        return SoftmaxPortfolio(
            window_shape(on.example), network=self.network.build, features=self.network.features()
        )

    def provides(self) -> tuple[type, ...]:
        return (Predictive,)

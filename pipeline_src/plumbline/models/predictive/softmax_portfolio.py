"""A learned portfolio whose weights are a softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, ModelSpec
from plumbline.models.predictive._portfolio_specs import window_shape
from plumbline.networks import AnyRegressor

if TYPE_CHECKING:
    from torch import nn


class SoftmaxPortfolioSpec(ModelSpec):
    """A network whose softmax is the weights: positive, summing to one, without a distribution."""

    kind: Literal["softmax_portfolio"] = "softmax_portfolio"
    network: AnyRegressor
    """The network, from the window of returns to features."""

    def build(self, on: BuildContext) -> nn.Module:
        from plumbline.models.predictive._portfolio import SoftmaxPortfolio

        return SoftmaxPortfolio(
            window_shape(on.example), network=self.network.build, features=self.network.features()
        )

    def provides(self) -> tuple[str, ...]:
        return ("prediction",)

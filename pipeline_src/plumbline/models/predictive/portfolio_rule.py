"""Portfolios by fixed rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec, Predictive
from plumbline.models.predictive._portfolio_specs import window_shape

if TYPE_CHECKING:
    from torch import nn


class PortfolioRuleSpec(FittedModelSpec):
    """A rule without training: equal weights, or skfolio's mean-variance optimiser on the window."""

    kind: Literal["portfolio_rule"] = "portfolio_rule"
    rule: Literal["equal_weights", "maximum_sharpe", "minimum_variance"]
    """Equal weights, or skfolio's long-only portfolio of maximum Sharpe ratio or minimum variance."""

    def build(self, on: BuildContext) -> nn.Module:
        from plumbline.models.predictive._portfolio_rule import PortfolioRule

        window_shape(on.example)
        return PortfolioRule(self.rule)

    def provides(self) -> tuple[type, ...]:
        return (Predictive,)

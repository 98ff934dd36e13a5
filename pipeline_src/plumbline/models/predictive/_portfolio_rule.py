"""Portfolio rules: equal weights, and skfolio's optimisers on the window."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from plumbline.models._preparing import PreparedInBlocks


class PortfolioRule(PreparedInBlocks, nn.Module):
    """Portfolio weights by a fixed rule, from each window alone.

    Args:
        rule: `equal_weights`, `maximum_sharpe` or `minimum_variance`.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights."""
        window = batch["window"]
        if self.rule == "equal_weights":
            return {"state": window.new_full((len(window), window.shape[-1]), 1 / window.shape[-1])}
        # skfolio solves one convex programme per window.
        weights = np.stack([self._optimum(one) for one in window.cpu().double().numpy()])
        return {"state": torch.as_tensor(weights, device=window.device)}

    def _optimum(self, returns: np.ndarray) -> np.ndarray:
        """skfolio's long-only weights; those of minimum variance if no asset has a positive mean return."""
        from skfolio.measures import RiskMeasure
        from skfolio.optimization import MeanRisk, ObjectiveFunction

        positive = bool((returns.mean(0) > 0).any())
        largest_ratio = self.rule == "maximum_sharpe" and positive
        objective = ObjectiveFunction.MAXIMIZE_RATIO if largest_ratio else ObjectiveFunction.MINIMIZE_RISK
        fitted = MeanRisk(objective_function=objective, risk_measure=RiskMeasure.VARIANCE).fit(returns)
        return fitted.weights_ / fitted.weights_.sum()

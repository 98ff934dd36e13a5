r"""Returns of portfolios in the windows that follow their decisions, for samples that are portfolio weights.

Test windows follow each other without overlap, so that their daily returns form one series. A decision costs
`cost` per unit of turnover, sum_i |w_i - w_i before|, subtracted from the return of the first day. Weights
stay constant within a window. The metric reports the mean Sharpe ratio per window without costs, the Sharpe
ratio of the whole series with costs, and the turnover. Sharpe ratios are annualised (Sharpe 1994,
https://doi.org/10.3905/jpm.1994.409501).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from plumbline.coordinates import require_last
from plumbline.metrics import EvaluationContext, MetricSpec, scalar
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

TRADING_DAYS = 252
"""Trading days per year."""


class PortfolioPerformanceSpec(MetricSpec):
    """Sharpe ratios and turnover of portfolio weights, on the windows that follow the decisions."""

    kind: Literal["portfolio_performance"] = "portfolio_performance"
    resampled: ClassVar[bool] = False
    cost: float = key("fraction of the traded value", ge=0, default=0.001)
    """Cost per unit of turnover."""
    risk_free: float = key("per year", default=0.03)
    """Risk-free rate."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        """Sharpe ratios and turnover.

        Raises:
            ValueError: the samples have no future returns.
        """
        import xarray as xr

        if "future" not in samples:
            raise ValueError(
                f"`{self.kind}`: the dataset has no variable `future` (sample, day, asset) with the returns "
                "that follow each decision; use a dataset that has it, such as `sp500_windows`."
            )
        require_last(samples["future"], str(samples["state"].dims[-1]), f"`{self.kind}`")
        weights, future = (samples[name].values.astype(np.float64) for name in ("state", "future"))
        daily = np.einsum("bdi,bi->bd", future, weights)
        each = self._sharpe(daily)
        before = np.concatenate([np.zeros((1, weights.shape[1])), weights[:-1]])
        turnover = np.abs(weights - before).sum(1)
        net = daily.copy()
        net[:, 0] -= self.cost * turnover
        attrs = {"long_name": "Sharpe ratio of the window"}
        return xr.Dataset(
            {
                "sharpe_of_window": scalar(each.mean(), "mean Sharpe ratio per window", "higher"),
                "sharpe_after_costs": scalar(
                    self._sharpe(net.reshape(1, -1))[0],
                    "Sharpe ratio of the test period after costs",
                    "higher",
                ),
                "turnover": scalar(turnover[1:].mean(), "turnover per decision", "lower"),
                "short_fraction": scalar((weights < 0).mean(), "fraction of negative weights", "neither"),
                "sharpe_each": ("sample", each, attrs),
            }
        )

    def _sharpe(self, daily: np.ndarray) -> np.ndarray:
        """The annualised Sharpe ratio (B,) of each row of daily returns (B, days)."""
        excess = TRADING_DAYS * daily.mean(1) - self.risk_free
        return excess / (np.sqrt(TRADING_DAYS) * np.maximum(daily.std(1, ddof=1), 1e-9))

r"""What portfolios earn in the windows that follow their decisions, for samples that are weights.

Test windows follow each other without overlap, so that their daily returns make one series. A decision costs `cost`
a unit of turnover, sum_i |w_i - w_i before|, taken off the first day; weights are kept within a window. Told are the
mean Sharpe ratio of a window, without costs; the Sharpe ratio of the whole series, with costs; and the turnover.
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


class PortfolioPerformanceSpec(MetricSpec):
    """Sharpe ratios and turnover of weights, on the windows of the dataset that they were decided for."""

    kind: Literal["portfolio_performance"] = "portfolio_performance"
    resampled: ClassVar[bool] = False
    cost: float = key("of the traded value", ge=0, default=0.001)
    """Cost of a unit of turnover."""
    risk_free: float = key("a year", default=0.03)
    """Risk-free rate."""

    def evaluate(self, samples: xr.Dataset, dataset: xr.Dataset, by: EvaluationContext) -> xr.Dataset:
        import xarray as xr

        if "future" not in samples:
            raise ValueError(
                f"`{self.kind}`: the dataset has no `future` (sample, day, asset), as `sp500_windows` has."
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
                "sharpe_of_window": scalar(each.mean(), "mean Sharpe ratio of a window", "higher"),
                "sharpe_after_costs": scalar(
                    self._sharpe(net.reshape(1, -1))[0],
                    "Sharpe ratio of the test period after costs",
                    "higher",
                ),
                "turnover": scalar(turnover[1:].mean(), "turnover a decision", "lower"),
                "short_fraction": scalar((weights < 0).mean(), "share of negative weights", "neither"),
                "sharpe_each": ("sample", each, attrs),
            }
        )

    def _sharpe(self, daily: np.ndarray) -> np.ndarray:
        """Annualised Sharpe ratio of each row."""
        excess = TRADING_DAYS * daily.mean(1) - self.risk_free
        return excess / (np.sqrt(TRADING_DAYS) * np.maximum(daily.std(1, ddof=1), 1e-9))

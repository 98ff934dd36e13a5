"""Pairs of daily returns, or of volatilities, of the 20 S&P 500 stocks that come with skfolio, 1990 to 2022.

A volatility is the mean absolute return of a week of five days, and pairs are then of weeks that do not overlap. Consecutive periods
are systems of their own; within each, the pairs that are judged come after those that are learned from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

DAYS = 5


class SP500SeriesSpec(DatasetSpec):
    """Pairs of returns or volatilities of 20 stocks (node), some steps apart."""

    kind: Literal["sp500_series"] = "sp500_series"
    quantity: Literal["returns", "volatilities"] = "volatilities"
    """Daily returns, or mean absolute returns of weeks, in percent."""
    ahead: int = key("days or weeks", ge=1, default=1)
    """Steps from what is known to what is asked for."""
    systems: int = key(ge=1, default=4)
    """Consecutive periods, each an experiment of its own; every split is a multiple of it."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from skfolio.datasets import load_sp500_dataset

        from plumbline.datasets._series import as_pairs, series_pairs

        table = 100 * load_sp500_dataset().pct_change().dropna()
        series = table.to_numpy()
        if self.quantity == "volatilities":
            weeks = len(series) // DAYS
            series = np.abs(series[: weeks * DAYS]).reshape(weeks, DAYS, -1).mean(1)
        before, after, system = series_pairs(series, self.ahead, self.systems, self.splits, indices)
        names = [str(name) for name in table.columns]
        return as_pairs(
            before, after, system, nodes=names, units="percent", title=f"{self.quantity} of 20 stocks"
        )

"""Pairs of daily returns or weekly volatilities of the 20 S&P 500 stocks of skfolio, 1990 to 2022.

A volatility is the mean absolute return of a week of five trading days; weeks do not overlap. Consecutive
periods are separate systems. Within each period, the training pairs come first, then the validation pairs,
then the test pairs.
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
    """Daily returns, or mean absolute daily returns of each week, in percent."""
    ahead: int = key("days or weeks", ge=1, default=1)
    """Steps from the known state to the predicted one."""
    systems: int = key(ge=1, default=4)
    """Number of consecutive periods, each a separate experiment; every split must be a multiple of it."""

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

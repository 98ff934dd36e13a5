r"""Daily returns of the 20 S&P 500 stocks bundled with skfolio, and of a portfolio of all of them.

A sample contains the simple returns of one day in percent: the returns r of the stocks, and the return
I = sum_i w_i r_i of the portfolio with equal, fixed weights w. An exact equality determines the last
coordinate:

    [w, -1] (r, I) = 0.

Days are in a random order that the seed determines, because the task is to model the joint distribution of
the returns of a day rather than to forecast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.datasets._days import Day
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class SP500ReturnsSpec(DatasetSpec):
    """Daily returns of 20 stocks and of their equally weighted portfolio."""

    kind: Literal["sp500_returns"] = "sp500_returns"
    first_day: Day = key(default="2000-01-03")
    """First day to use, such as 2000-01-31; the table covers 1990-01-02 to 2022-12-28."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr
        from skfolio.datasets import load_sp500_dataset

        prices = load_sp500_dataset()
        first, last = (f"{day:%Y-%m-%d}" for day in prices.index[[0, -1]])
        returns = 100 * prices.loc[self.first_day :].pct_change().dropna()
        if self.splits.total > len(returns):
            raise ValueError(
                f"`first_day`: from {self.first_day} on there are {len(returns)} returns, and `splits` ask "
                f"for {self.splits.total}: lower them, or choose an earlier day (the table covers {first} "
                f"to {last})."
            )
        chosen = np.random.default_rng(self.seed).permutation(len(returns))[indices]
        stocks = returns.to_numpy()[chosen].astype(np.float32).astype(np.float64)
        weights = np.full(stocks.shape[1], 1 / stocks.shape[1])
        state = np.concatenate([stocks, stocks @ weights[:, None]], 1).astype(np.float32)
        names = [*map(str, returns.columns), "portfolio"]
        return xr.Dataset(
            {
                "state": (("sample", "asset"), state, {"long_name": "daily return", "units": "percent"}),
                "portfolio_matrix": (("equality", "asset"), np.append(weights, -1.0)[None]),
                "portfolio_target": (("equality",), np.zeros(1)),
            },
            coords={"asset": ("asset", names, {"long_name": "asset"})},
            attrs={"title": "daily returns of 20 stocks", "source": "skfolio"},
        )

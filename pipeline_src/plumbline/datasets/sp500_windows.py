r"""Windows of daily stock returns before and after portfolio decisions.

The data is that of the 20 S&P 500 stocks bundled with skfolio, 1990 to 2022. A sample is a decision day t:
`window` contains the daily returns of the days before t, and `future` those from day t on. The future windows
of the validation and test splits do not overlap and are at the end of the series, test last. Training windows
may overlap, and end before the first validation decision. `state` is the minimum-variance portfolio of the
future window, which is known only in hindsight: w = (S + e I)^{-1} 1 / (1^T (S + e I)^{-1} 1) for the
covariance S of the future returns. Its weights sum to one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

# Daily returns in skfolio's table, 1990-01-03 to 2022-12-28.
BUNDLED_DAYS = 8312
# Fraction of the mean variance that is added to every variance, since windows may have fewer days than there
# are stocks.
RIDGE = 0.1


class SP500WindowsSpec(DatasetSpec):
    """Windows of daily returns around decision days, in chronological order."""

    kind: Literal["sp500_windows"] = "sp500_windows"
    lookback: int = key("days", ge=2, default=60)
    """Number of known days before the decision."""
    horizon: int = key("days", ge=2, default=20)
    """Number of days after the decision on which it is evaluated."""
    stride: int = key("days", ge=1, default=5)
    """Days between decision days of the train split."""

    @model_validator(mode="after")
    def _room_for_all(self) -> SP500WindowsSpec:
        self.decision_days(BUNDLED_DAYS)
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr
        from skfolio.datasets import load_sp500_dataset

        table = load_sp500_dataset().pct_change().dropna()
        days = self.decision_days(len(table))[indices]
        returns = table.to_numpy()
        window = np.stack([returns[t - self.lookback : t] for t in days])
        future = np.stack([returns[t : t + self.horizon] for t in days])
        return xr.Dataset(
            {
                "state": (
                    ("sample", "asset"),
                    least_variance(future).astype(np.float32),
                    {"long_name": "weight"},
                ),
                "window": (
                    ("sample", "past_day", "asset"),
                    window.astype(np.float32),
                    {"long_name": "return"},
                ),
                "future": (
                    ("sample", "future_day", "asset"),
                    future.astype(np.float32),
                    {"long_name": "return"},
                ),
                "decision_day": ("sample", table.index[days].astype(str).to_numpy().astype("<U10")),
            },
            coords={"asset": ("asset", [str(name) for name in table.columns])},
            attrs={"title": "windows of returns of 20 stocks", "source": "skfolio"},
        )

    def decision_days(self, available: int) -> np.ndarray:
        """Positions in the series of the decision days of all samples, split by split.

        Args:
            available: number of days in the series.


        Raises:
            ValueError: the series is too short for the splits.
        """
        held_out = self.splits.validation + self.splits.test
        late = available - self.horizon * np.arange(held_out, 0, -1)
        last = late[0] - self.horizon
        early = last - self.stride * np.arange(self.splits.train - 1, -1, -1)
        if early[0] < self.lookback:
            raise ValueError(
                f"{available} days are too few for these splits, `lookback`, `horizon` and `stride`: the "
                f"first window would begin {self.lookback - early[0]} days before the series. Lower them."
            )
        return np.concatenate([early, late])


def least_variance(returns: np.ndarray) -> np.ndarray:
    """Ridge-regularised minimum-variance weights (N, n) of returns (N, days, n), which sum to one."""
    centred = returns - returns.mean(1, keepdims=True)
    covariance = np.einsum("bdi,bdj->bij", centred, centred) / returns.shape[1]
    n = returns.shape[2]
    ridge = RIDGE * np.trace(covariance, axis1=1, axis2=2)[:, None, None] / n * np.eye(n)
    weights = np.linalg.solve(covariance + ridge, np.ones((len(returns), n, 1)))[..., 0]
    return weights / weights.sum(1, keepdims=True)

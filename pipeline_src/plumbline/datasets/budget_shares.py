"""Budget shares of households given what they spend and earn: compositions that sum to one.

From a CSV file with a column a share and columns to condition on; by default that of 1,519 British households
(Blundell, Duncan, Pendakur 1998; Rdatasets, Ecdat/BudgetUK): food, fuel, clothing, alcohol, transport, other, given
total expenditure and income (as logarithms), age and number of children. Shares are rounded in the file; each
household's are divided by their sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.datasets.files import own_file

if TYPE_CHECKING:
    import xarray as xr

# Shares that are rounded to four digits sum to one within this.
ROUNDING = 0.01


class BudgetSharesSpec(DatasetSpec):
    """Shares of a budget, from a CSV file; the seed orders its rows."""

    kind: Literal["budget_shares"] = "budget_shares"
    data_dir: str = "data/finance"
    """Folder of the file."""
    file: str = "budget_uk.csv"
    """The CSV file."""
    shares: tuple[str, ...] = ("wfood", "wfuel", "wcloth", "walc", "wtrans", "wother")
    """Columns of the shares, which sum to one."""
    given: tuple[str, ...] = ("age", "children")
    """Columns to condition on, as they are."""
    given_logarithm: tuple[str, ...] = ("totexp", "income")
    """Columns to condition on, as logarithms."""

    def has_condition(self) -> bool:
        return True

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import pandas as pd
        import xarray as xr

        del splits
        path = own_file(self.data_dir, self.file, "a CSV file of budget shares (Rdatasets, Ecdat/BudgetUK)")
        table = pd.read_csv(path)
        missing = {*self.shares, *self.given, *self.given_logarithm} - set(table.columns)
        if missing:
            raise ValueError(
                f"{path} has no column {', '.join(sorted(missing))}; it has {', '.join(table.columns)}."
            )
        if self.splits.total > len(table):
            raise ValueError(
                f"{path} has {len(table)} rows, and `splits` ask for {self.splits.total}: lower them."
            )
        rows = table.iloc[np.random.default_rng(self.seed).permutation(len(table))[indices]]
        shares = rows[list(self.shares)].to_numpy(float)
        totals = shares.sum(1, keepdims=True)
        if (np.abs(totals - 1) > ROUNDING).any():
            raise ValueError(f"{path}: shares sum to {totals.min():.3f} and more: they should sum to one.")
        plain = rows[list(self.given)].to_numpy(float)
        logarithms = np.log(rows[list(self.given_logarithm)].to_numpy(float))
        condition = np.concatenate([plain, logarithms], 1)
        return xr.Dataset(
            {
                "state": (
                    ("sample", "share"),
                    (shares / totals).astype(np.float32),
                    {"long_name": "budget share"},
                ),
                "condition": (("sample", "given"), condition, {"long_name": "household"}),
            },
            coords={
                "share": ("share", list(self.shares)),
                "given": ("given", [*self.given, *(f"log {name}" for name in self.given_logarithm)]),
            },
            attrs={"title": "budget shares of households"},
        )

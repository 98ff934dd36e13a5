"""Budget shares of households given what they spend and earn: compositions that sum to one.

From a CSV file with a column a share and columns to condition on; by default that of 1,519 British households
(Blundell, Duncan, Pendakur 1998; Rdatasets, Ecdat/BudgetUK): food, fuel, clothing, alcohol, transport, other, given
total expenditure and income (as logarithms), age and number of children. Shares are rounded in the file; each
household's are divided by their sum.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.datasets.files import DataFileError, own_file
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr

# Shares that are rounded to four digits sum to one within this.
ROUNDING = 0.01


class BudgetSharesSpec(ReadsFiles, DatasetSpec):
    """Shares of a budget, from a CSV file with a header; the seed orders its rows."""

    kind: Literal["budget_shares"] = "budget_shares"
    data_dir: str = "data/finance"
    """Folder of the file."""
    file: str = "budget_uk.csv"
    """The CSV file, in UTF-8, with commas, semicolons or tabs between columns."""
    shares: tuple[str, ...] = ("wfood", "wfuel", "wcloth", "walc", "wtrans", "wother")
    """Columns of the shares, which sum to one within 0.01."""
    given: tuple[str, ...] = ("age", "children")
    """Columns to condition on, as they are."""
    given_logarithm: tuple[str, ...] = ("totexp", "income")
    """Columns to condition on, as logarithms: over zero in every row."""

    @model_validator(mode="after")
    def _each_column_once(self) -> BudgetSharesSpec:
        names = (*self.shares, *self.given, *self.given_logarithm)
        if len(set(names)) != len(names) or len(self.shares) < 2 or len(names) == len(self.shares):
            raise ValueError(
                "`shares` names two columns or more, `given` and `given_logarithm` one or more, and each column once"
            )
        return self

    def has_condition(self) -> bool:
        return True

    def input_files(self) -> tuple[InputFile, ...]:
        path = Path(self.data_dir) / self.file
        return (InputFile("file", str(path), "a CSV file of budget shares (Rdatasets, Ecdat/BudgetUK)"),)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        del splits
        shares, condition = self._read()
        if self.splits.total > len(shares):
            raise ValueError(
                f"{self.file} has {len(shares)} rows, and `splits` ask for {self.splits.total}: lower them."
            )
        rows = np.random.default_rng(self.seed).permutation(len(shares))[indices]
        shares, condition = shares[rows], condition[rows]
        return xr.Dataset(
            {
                "state": (
                    ("sample", "share"),
                    (shares / shares.sum(1, keepdims=True)).astype(np.float32),
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

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        """The shares of all households, as they stand in the file, and what they are conditioned on.

        Raises:
            DataFileError: the file lacks a column, or a value is missing, is no number, or cannot be what it should be. Line and
                column are named.
        """
        from plumbline.datasets._columns import read_columns

        path = own_file(self.data_dir, self.file, "a CSV file of budget shares (Rdatasets, Ecdat/BudgetUK)")
        columns = read_columns(path, (*self.shares, *self.given, *self.given_logarithm))
        shares, taken = columns.of(self.shares), columns.of(self.given_logarithm)
        columns.refuse(shares < 0, self.shares, "expected a share from 0 to 1")
        remedy = "take the row out, or list the column under `given`"
        columns.refuse(
            ~(taken > 0), self.given_logarithm, f"its logarithm needs a number over zero ({remedy})"
        )
        totals = shares.sum(1)
        if (np.abs(totals - 100) <= 100 * ROUNDING).all():
            raise DataFileError(f"{path}: shares sum to 100: they are percentages. Divide them by 100.")
        if (off := np.flatnonzero(np.abs(totals - 1) > ROUNDING)).size:
            raise DataFileError(
                f"{path}, line {columns.lines[off[0]]}: shares should sum to 1 within {ROUNDING}, and sum to "
                f"{totals[off[0]]:g} ({off.size} such rows in all)."
            )
        return shares, np.concatenate([columns.of(self.given), np.log(taken)], 1)

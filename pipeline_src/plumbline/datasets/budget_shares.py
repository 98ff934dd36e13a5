"""Budget shares of households, conditioned on expenditure and income: compositions that sum to one.

They are read from a CSV file with one column per share and columns to condition on. The default file
describes 1,519 British households (Blundell, Duncan and Pendakur 1998; Rdatasets, Ecdat/BudgetUK): shares of
food, fuel, clothing, alcohol, transport and other goods, conditioned on the logarithms of total expenditure
and income, on age and on the number of children. Shares are rounded in the file, so those of each household
are divided by their sum.
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

# Largest difference between the sum and one that rounding of the shares explains.
ROUNDING = 0.01


class BudgetSharesSpec(ReadsFiles, DatasetSpec):
    """Budget shares from a CSV file with a header, in an order that the seed determines."""

    kind: Literal["budget_shares"] = "budget_shares"
    data_dir: str = "data/finance"
    """Folder that contains the file."""
    file: str = "budget_uk.csv"
    """Name of the file, a table with a header: `.csv` with commas or semicolons, `.tsv`, either of them
    compressed, or `.parquet`."""
    shares: tuple[str, ...] = ("wfood", "wfuel", "wcloth", "walc", "wtrans", "wother")
    """Columns of the shares, which must sum to one within 0.01."""
    given: tuple[str, ...] = ("age", "children")
    """Columns to condition on, unchanged."""
    given_logarithm: tuple[str, ...] = ("totexp", "income")
    """Columns to condition on after taking logarithms; their values must be positive."""

    @model_validator(mode="after")
    def _each_column_once(self) -> BudgetSharesSpec:
        names = (*self.shares, *self.given, *self.given_logarithm)
        if len(set(names)) != len(names) or len(self.shares) < 2 or len(names) == len(self.shares):
            raise ValueError(
                "`shares` must list two columns or more, `given` and `given_logarithm` together one or "
                "more, and each column once"
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
        """The shares of all households (rows, shares) as in the file, and their conditions (rows, given).

        Raises:
            DataFileError: a column is missing, or a value is missing, not a number or out of range. The
                message names the column and the row.
        """
        from plumbline.storage.tables import numbers_of, read_table

        path = own_file(self.data_dir, self.file, "a CSV file of budget shares (Rdatasets, Ecdat/BudgetUK)")
        table = read_table(path)
        names = [*self.shares, *self.given, *self.given_logarithm]
        for name in names:
            if name not in table:
                raise DataFileError(f"{path} has no column {name!r}; it has {', '.join(map(str, table))}.")
        values = numbers_of(path, table[names], "fill it in, or delete the row")
        shares, given, taken = np.split(values, np.cumsum([len(self.shares), len(self.given)]), axis=1)
        _refuse(path, shares < 0, shares, self.shares, "a share from 0 to 1: correct it, or delete the row")
        remedy = "delete the row, or list the column under `given`"
        _refuse(
            path,
            taken <= 0,
            taken,
            self.given_logarithm,
            f"a positive number, to take its logarithm: {remedy}",
        )
        totals = shares.sum(1)
        if (np.abs(totals - 100) <= 100 * ROUNDING).all():
            raise DataFileError(
                f"{path}: the shares sum to 100, so they are percentages. Divide them by 100."
            )
        if (off := np.flatnonzero(np.abs(totals - 1) > ROUNDING)).size:
            raise DataFileError(
                f"{path}, row {off[0] + 1}: shares must sum to 1 within {ROUNDING}, but sum to "
                f"{totals[off[0]]:g} ({off.size} such rows in all)."
            )
        return shares, np.concatenate([given, np.log(taken)], 1)


def _refuse(
    path: Path, strange: np.ndarray, values: np.ndarray, names: tuple[str, ...], expected: str
) -> None:
    """Raises an error that names the column and row of the first strange value, if there is one."""
    if (places := np.argwhere(strange)).size:
        row, column = places[0]
        raise DataFileError(
            f"{path}, column {names[column]!r}, row {row + 1}: found {values[row, column]:g} ({len(places)} "
            f"such values in all), expected {expected}."
        )

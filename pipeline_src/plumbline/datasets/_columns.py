"""Columns of numbers, by their names, from a text file with a header and commas, semicolons or tabs between."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plumbline.datasets.files import DataFileError

DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Columns:
    """Some columns of a file.

    Attributes:
        path: the file.
        names: of the columns.
        values: (rows, columns), none of them missing.
        lines: the line of the file that each row stands in.
    """

    path: Path
    names: tuple[str, ...]
    values: np.ndarray
    lines: np.ndarray

    def of(self, names: Sequence[str]) -> np.ndarray:
        """The values of some of the columns (rows, names)."""
        return self.values[:, [self.names.index(name) for name in names]]

    def refuse(self, strange: np.ndarray, names: Sequence[str], expected: str) -> None:
        """Raises an error that names the first row and column where a value (rows, names) is strange, if there is one.

        Raises:
            DataFileError: there is one.
        """
        if (places := np.argwhere(strange)).size:
            row, column = places[0]
            found = self.of(names)[row, column]
            raise DataFileError(
                f"{self.path}, line {self.lines[row]}, column {names[column]!r}: {expected}, found {found:g} "
                f"({len(places)} such in all)."
            )


def read_columns(path: Path, names: Sequence[str]) -> Columns:
    """The columns of these names.

    Raises:
        DataFileError: the file is no such table, lacks a column, or a value in one is missing or no finite number. Line and column
            are named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    read = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
    rows = [(read.line_num, [field.strip() for field in row]) for row in read if any(row)]
    if len(rows) < 2:
        raise DataFileError(f"{path} is empty: expected a line of names and a line a row.")
    header = rows[0][1]
    if all(_number(field) is not None for field in header):
        raise DataFileError(
            f"{path} has no header: its first line is {first.strip()[:60]!r}, where {', '.join(names)} are expected."
        )
    for name in names:
        if (count := header.count(name)) != 1:
            what = f"has no column {name!r}" if not count else f"names the column {name!r} {count} times"
            raise DataFileError(f"{path} {what}; it has {', '.join(header)}.")
    places = [header.index(name) for name in names]
    values = np.empty((len(rows) - 1, len(names)))
    for row, (line, fields) in enumerate(rows[1:]):
        if len(fields) != len(header):
            raise DataFileError(
                f"{path}, line {line}: expected {len(header)} fields as in the header, found {len(fields)}."
            )
        for column, place in enumerate(places):
            number = _number(fields[place])
            if number is None or not np.isfinite(number):
                raise DataFileError(
                    f"{path}, line {line}, column {names[column]!r}: expected a number such as 0.25, found "
                    f"{fields[place]!r}: fill it in, or take the row out."
                )
            values[row, column] = number
    return Columns(path, tuple(names), values, np.array([line for line, _ in rows[1:]]))


def _number(field: str) -> float | None:
    try:
        return float(field)
    except ValueError:
        return None

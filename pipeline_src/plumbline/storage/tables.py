"""Reading of tables from text and Parquet files, with column names in a header and one line per row.

The suffix determines the format: `.csv` (commas or semicolons), `.tsv` and `.tab` (tabs), each also
compressed (`.gz`, `.bz2`, `.zst`), and `.parquet`. If semicolons or tabs separate the fields, numbers may
have a decimal comma.
"""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.datasets._download import DataFileError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("plumbline.storage")

DELIMITERS = {".csv": (",", ";"), ".tsv": ("\t",), ".tab": ("\t",)}
"""Allowed field separators, by suffix; the first is the usual one."""
COMPRESSIONS = (".gz", ".bz2", ".zst")
PARQUET = (".parquet", ".pq")
MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
"""Fields that denote a missing value."""
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+(e[-+]?\d+)?\s*", re.IGNORECASE)
NUMBER_OF_DATA = re.compile(r"\s*[-+]?(\d*[.,]\d+|\d+[.,]|\d+(\.\d*)?e[-+]?\d+|nan)\s*", re.IGNORECASE)
"""Numbers that are not plausible as column names: those with a fraction or an exponent."""


def is_table(path: Path) -> bool:
    """Whether a file has the suffix of a table."""
    return _suffix(path) in {*DELIMITERS, *PARQUET}


def read_table(path: Path) -> pd.DataFrame:
    """Reads a table; row i of the result is the i-th line below the header.

    A first column that numbers the rows and has no name, as pandas writes its index, is left out with a note
    in the log.

    Raises:
        DataFileError: the file is not a table, has no header, has a column without a name or two columns of
            the same name, or has a line with a different number of fields.
    """
    if not path.is_file():
        raise DataFileError(f"{path}: there is no such file.")
    if not is_table(path):
        known = ", ".join([*DELIMITERS, *PARQUET])
        raise DataFileError(
            f"{path} has the suffix {path.suffix or '(none)'}, expected the suffix of a table: {known}, or "
            f"one of them followed by {', '.join(COMPRESSIONS)}."
        )
    table = _parquet(path) if _suffix(path) in PARQUET else _text(path)
    return _without_index(path, table)


def numbers_of(path: Path, table: pd.DataFrame, remedy: str) -> np.ndarray:
    """The values of a table, float64 (rows, columns).

    Args:
        path: path of the file, for the error message.
        table: the table, as `read_table` returns it.
        remedy: advice for a value that is not a number, at the end of the error message.

    Raises:
        DataFileError: a value is missing, infinite or not a number. The message names the row and column of
            the first one.
    """
    import pandas as pd

    values = np.empty(table.shape)
    for place, name in enumerate(table.columns):
        column = table[name]
        if column.dtype.kind in "iuf":
            values[:, place] = column.to_numpy(np.float64)
        else:
            values[:, place] = np.nan if column.dtype.kind in "Mmb" else _as_numbers(column)
        strange = ~np.isfinite(values[:, place])
        if strange.any():
            row = int(np.argmax(strange))
            found = column.iloc[row]
            shown = (
                "a missing value" if pd.api.types.is_scalar(found) and pd.isna(found) else repr(str(found))
            )
            raise DataFileError(
                f"{path}, column {str(name)!r}, row {row + 1}: expected a number, found {shown} "
                f"({int(strange.sum())} of {len(table)} rows of this column are not finite numbers): "
                f"{remedy}."
            )
    return values


def _as_numbers(column: pd.Series) -> np.ndarray:
    import pandas as pd

    try:
        return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    except TypeError:  # lists and other objects
        return np.full(len(column), np.nan)


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except Exception as error:
        raise DataFileError(f"{path} cannot be read as a Parquet file ({_first_line(error)}).") from error
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    _require_names(path, [str(name) for name in table.columns])
    return table


def _text(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import csv as text

    lines = _first_lines(path)
    delimiter = _delimiter(path, lines[0])
    fields = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    header = [name.strip() for name in fields[0]]
    _require_header(path, header)
    comma = delimiter != "," and any(DECIMAL_COMMA.fullmatch(field) for row in fields[1:] for field in row)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            table = text.read_csv(
                stream,
                # A single thread, so that errors contain the row.
                read_options=text.ReadOptions(column_names=header, skip_rows=1, use_threads=False),
                parse_options=text.ParseOptions(delimiter=delimiter),
                convert_options=text.ConvertOptions(
                    decimal_point="," if comma else ".", null_values=MISSING, strings_can_be_null=True
                ),
            )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataFileError(f"{path} cannot be read as a table ({_first_line(error)}).") from error
    return table.to_pandas()


def _first_lines(path: Path, count: int = 200) -> list[str]:
    """The header and the first lines below it, as text."""
    import io

    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            lines = [line.rstrip("\r\n") for line, _ in zip(text, range(count), strict=False)]
    except UnicodeDecodeError as error:
        raise DataFileError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except (OSError, pa.ArrowException) as error:
        raise DataFileError(f"{path} cannot be read ({_first_line(error)}).") from error
    if len(lines) < 2 or not lines[0].strip():
        raise DataFileError(
            f"{path}: expected a line of names and one line per row, found {len(lines)} lines."
        )
    return lines


def _delimiter(path: Path, header: str) -> str:
    allowed = DELIMITERS[_suffix(path)]
    names = {",": "commas", ";": "semicolons", "\t": "tabs"}
    unquoted = re.sub(r'"[^"]*"', "", header)
    found = [delimiter for delimiter in names if delimiter in unquoted]
    if not found:
        return allowed[0]
    if len(found) > 1 or found[0] not in allowed:
        raise DataFileError(
            f"{path}: expected {' or '.join(names[d] for d in allowed)} between the names of the header, "
            f"found {' and '.join(names[d] for d in found)}. Save it with one of these separators and the "
            "suffix that belongs to it."
        )
    if found[0] != allowed[0]:
        logger.info("%s: its fields are separated by %s.", path, names[found[0]])
    return found[0]


def _require_header(path: Path, header: list[str]) -> None:
    if header[0].startswith("#"):
        raise DataFileError(
            f"{path}: its first line begins with #. If it names the columns, remove the #; if not, delete "
            "the line."
        )
    numbers = [name for name in header if NUMBER_OF_DATA.fullmatch(name)]
    if numbers or all(re.fullmatch(r"[-+]?\d+", name) for name in header if name):
        shown = ", ".join(header[:5])
        raise DataFileError(
            f"{path} has no header: expected names in its first line, found numbers ({shown}). Add a line "
            "of names."
        )
    _require_names(path, header)


def _require_names(path: Path, header: list[str]) -> None:
    for place, name in enumerate(header):
        if not name and place:
            raise DataFileError(f"{path}: column {place + 1} has no name. Give it one.")
        if header.count(name) > 1:
            raise DataFileError(f"{path}: {header.count(name)} columns have the name {name!r}. Rename them.")


def _without_index(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    first = str(table.columns[0]) if len(table.columns) else ""
    if first not in ("", "Unnamed: 0", "__index_level_0__", "index"):
        return table
    values = table.iloc[:, 0]
    if values.dtype.kind in "iu" and len(values):
        counted = values.to_numpy() - values.iloc[0]
        if values.iloc[0] in (0, 1) and np.array_equal(counted, np.arange(len(values))):
            logger.info(
                "%s: its first column %snumbers the rows and is left out.", path, f"{first!r} " * bool(first)
            )
            return table.iloc[:, 1:]
    if first:
        return table
    raise DataFileError(
        f"{path}: its first column has no name and does not number the rows. Name it, or delete it."
    )


def _first_line(error: Any) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"

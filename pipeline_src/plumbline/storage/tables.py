"""Tables in text files and Parquet files: a header of names, and a line a row.

The suffix says the format: `.csv` (commas or semicolons), `.tsv` and `.tab` (tabs), each also compressed (`.gz`, `.bz2`,
`.zst`), and `.parquet`. With semicolons or tabs between the fields, numbers may have a decimal comma.
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
"""What may stand between the fields, by suffix; the first is usual."""
COMPRESSIONS = (".gz", ".bz2", ".zst")
PARQUET = (".parquet", ".pq")
MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
"""Fields that stand for a missing value."""
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+(e[-+]?\d+)?\s*", re.IGNORECASE)
NUMBER_OF_DATA = re.compile(r"\s*[-+]?(\d*[.,]\d+|\d+[.,]|\d+(\.\d*)?e[-+]?\d+|nan)\s*", re.IGNORECASE)
"""Numbers that no column is named by: those with a fraction or an exponent."""


def is_table(path: Path) -> bool:
    """Whether the suffix of a file is that of a table."""
    return _suffix(path) in {*DELIMITERS, *PARQUET}


def read_table(path: Path) -> pd.DataFrame:
    """The columns of a table, by name; row i is the i-th line below the header.

    A first column without a name that counts the rows, as pandas writes its index, is left out, and the log says so.

    Raises:
        DataFileError: the file is no such table, has no header, a column without a name or two of one name, or a line with another
            number of fields.
    """
    if not path.is_file():
        raise DataFileError(f"{path}: there is no such file.")
    if not is_table(path):
        known = ", ".join([*DELIMITERS, *PARQUET])
        raise DataFileError(
            f"{path} has the suffix {path.suffix or '(none)'}, expected that of a table: {known}, or one of them "
            f"followed by {', '.join(COMPRESSIONS)}."
        )
    table = _parquet(path) if _suffix(path) in PARQUET else _text(path)
    return _without_index(path, table)


def numbers_of(path: Path, table: pd.DataFrame, remedy: str) -> np.ndarray:
    """The table as numbers, float64 (rows, columns).

    Args:
        path: of the file, for the message.
        table: as `read_table` reads it.
        remedy: what to do about a column that is not of numbers.

    Raises:
        DataFileError: a value is missing, infinite or no number; the first is named by row and column.
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
                f"{path}, column {str(name)!r}, row {row + 1}: expected a number, found {shown} ({int(strange.sum())} of "
                f"{len(table)} rows of this column are no finite numbers): {remedy}."
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
                # In one thread, so that errors know the row.
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
    """The header and the lines that follow it, as text."""
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
        raise DataFileError(f"{path}: expected a line of names and a line a row, found {len(lines)} lines.")
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
            f"{path}: expected {' or '.join(names[d] for d in allowed)} between the names of the header, found "
            f"{' and '.join(names[d] for d in found)}. Save it with one of them, under the suffix that belongs to it."
        )
    if found[0] != allowed[0]:
        logger.info("%s: its fields are separated by %s.", path, names[found[0]])
    return found[0]


def _require_header(path: Path, header: list[str]) -> None:
    if header[0].startswith("#"):
        raise DataFileError(
            f"{path}: its first line begins with #. If it names the columns, take the # away; if not, take the line out."
        )
    numbers = [name for name in header if NUMBER_OF_DATA.fullmatch(name)]
    if numbers or all(re.fullmatch(r"[-+]?\d+", name) for name in header if name):
        shown = ", ".join(header[:5])
        raise DataFileError(
            f"{path} has no header: expected names in its first line, found numbers ({shown}). Add a line of names."
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
                "%s: its first column %scounts the rows and is left out.", path, f"{first!r} " * bool(first)
            )
            return table.iloc[:, 1:]
    if first:
        return table
    raise DataFileError(
        f"{path}: its first column has no name and does not count the rows. Give it a name, or leave it out."
    )


def _first_line(error: Any) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}"

"""Table formats: CSV and JSON with plain numbers, LaTeX with rounded values as in the report, Markdown."""

from __future__ import annotations

import csv
import io
import json
import math

from plumbline.reporting.tables import Cell, Column, Table, as_markdown
from plumbline.study import REAL

LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "^": r"\^{}", "~": r"\~{}", "–": "--"}


def as_csv(table: Table) -> str:
    """CSV, one row per method and metric: mean, standard deviation, 95% half-interval, mark of the best."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ["method", "metric", "title", "unit", "better", "mean", "std", "half_interval", "best", "seeds"]
    )
    for method, column, cell in _entries(table):
        shown = [_plain(value) for value in (cell.mean, cell.std, cell.half_interval)]
        numbers = ["" if value is None else repr(value) for value in shown]
        rows.writerow(
            [method, column.name, column.title, column.unit, column.better, *numbers, cell.best, table.seeds]
        )
    return text.getvalue().rstrip("\n")


def as_json(table: Table) -> str:
    """A JSON list with one object per method and metric. Missing values are null."""
    return json.dumps(
        [
            {
                "method": method,
                "metric": column.name,
                "title": column.title,
                "unit": column.unit,
                "better": column.better,
                "mean": _plain(cell.mean),
                "std": _plain(cell.std),
                "half_interval": _plain(cell.half_interval),
                "best": cell.best,
                "seeds": table.seeds,
            }
            for method, column, cell in _entries(table)
        ],
        indent=2,
        ensure_ascii=False,
    )


def as_latex(table: Table) -> str:
    """A LaTeX `tabular` with rules of the package booktabs and the best entries in bold."""
    heads = [_latex(c.title if c.unit == "1" else f"{c.title} ({c.unit})") for c in table.columns]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}",
        r"\toprule",
        " & ".join(["method", *heads]) + r" \\",
        r"\midrule",
    ]
    for method, cells in table.rows.items():
        name = "real data (floor)" if method == REAL else method
        entries = [rf"\textbf{{{_value(cell)}}}" if cell.best else _value(cell) for cell in cells]
        lines.append(" & ".join([_latex(name), *entries]) + r" \\")
    notes = [f"% {note}" for note in table.notes()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes])


FORMATS = {"markdown": as_markdown, "csv": as_csv, "json": as_json, "latex": as_latex}
"""The functions that format a table, by the name of the format."""


def _entries(table: Table) -> list[tuple[str, Column, Cell]]:
    return [
        (method, column, cell)
        for method, cells in table.rows.items()
        for column, cell in zip(table.columns, cells, strict=True)
    ]


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _value(cell: Cell) -> str:
    """The text of an entry, with powers of ten and the sign ± in math mode."""
    text = cell.text
    for digits, plain in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True):
        text = text.replace(digits, f"^{{{plain}}}")
    text = text.replace("}^{", "").replace("×", r"\times ").replace("±", r"\pm")
    return f"${text}$" if text != "–" else "--"


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)

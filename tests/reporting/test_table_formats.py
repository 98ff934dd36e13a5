"""Tables in other formats hold the numbers of the table, and LaTeX reads them."""

import csv
import io
import json
import re

from plumbline.reporting.table_formats import FORMATS, as_latex
from plumbline.reporting.tables import Cell, Column, Table, metric_table


def test_csv_and_json_hold_every_entry(comparison):
    table = metric_table(comparison)
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](table))))
    objects = json.loads(FORMATS["json"](table))
    assert len(rows) == len(objects) == len(table.rows) * len(table.columns)
    entries = [cell for cells in table.rows.values() for cell in cells]
    for row, one, cell in zip(rows, objects, entries, strict=True):
        assert (row["method"], row["metric"]) == (one["method"], one["metric"])
        assert one["mean"] is None or one["mean"] == cell.mean == float(row["mean"])
        assert one["best"] == cell.best == (row["best"] == "True")


def test_what_was_not_measured_is_empty():
    table = Table([Column("a", "a", "1", "lower")], {"one": [Cell(float("nan"), float("nan"), float("nan"))]})
    assert FORMATS["csv"](table).splitlines()[1] == "one,a,a,1,lower,,,,False,1"
    assert json.loads(FORMATS["json"](table))[0]["mean"] is None


def test_latex_has_math_bold_and_no_bare_special_characters():
    columns = [Column("a", "distance to a_b", "m", "lower"), Column("b", "cost & time", "1", "lower")]
    rows = {"real": [Cell(1.0, 0.0, 0.0), Cell(float("nan"), 0.0, 0.0)],
            "one_two": [Cell(1.5e-7, 2e-8, 0.0, best=True), Cell(3.0, 0.5, 0.0)]}  # fmt: skip
    text = as_latex(Table(columns, rows))
    assert r"method & distance to a\_b (m) & cost \& time \\" in text
    assert r"\textbf{$1.50\times 10^{-7} \pm 2.0\times 10^{-8}$} & $3 \pm 0.50$ \\" in text
    assert r"real data (floor) & $1$ & -- \\" in text and r"one\_two" in text
    assert not re.search(r"(?<!\\)[#%&_](?!.*\\\\)", text.split(r"\bottomrule")[0].replace("&", ""))

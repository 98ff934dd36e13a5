"""The table of tuned methods: what was tried for each, on what it was judged, and what was chosen."""

from __future__ import annotations

import json
from dataclasses import dataclass

import xarray as xr

from plumbline.reporting.tables import number
from plumbline.study import REAL
from plumbline.tuning import Tuning, shown


@dataclass(frozen=True)
class TunedRow:
    """A method in the table.

    Attributes:
        method: the method.
        tried: the number of candidates, as text.
        chosen: the values that were chosen, as text.
        value: the metric of the chosen candidate and its range over all of them, as text.
    """

    method: str
    tried: str
    chosen: str
    value: str


@dataclass(frozen=True)
class TunedMethods:
    """The table of tuned methods.

    Attributes:
        caption: how the methods were tuned, as a sentence.
        metric: the metric that was chosen by, as the heading of a column.
        rows: the methods, in the study's order.
    """

    caption: str
    metric: str
    rows: list[TunedRow]


def tuned_methods(comparison: xr.Dataset) -> TunedMethods | None:
    """The table of tuned methods; None if the study tunes none."""
    stored = json.loads(comparison.attrs.get("tunings", "{}"))
    records = {name: Tuning.model_validate(record) for name, record in stored.items()}
    if not records:
        return None
    one = next(iter(records.values()))
    caption = (
        f"Each method with a sweep drew {one.samples:,} samples for the {one.split} split by each of at most "
        f"{one.budget} candidates, with the models of seed {one.seed}. The best by {one.metric} "
        f"({one.better} is better) was chosen. The other methods have the values of the study."
    )
    methods = [str(name) for name in comparison["methods"].values if name != REAL]
    rows = [_row(name, records.get(name)) for name in methods]
    return TunedMethods(caption, one.title if one.units == "1" else f"{one.title} ({one.units})", rows)


def _row(method: str, record: Tuning | None) -> TunedRow:
    if record is None:
        return TunedRow(method, "1", "as in the study", "–")
    values = [one.value for one in record.candidates if one.value is not None]
    failed = len(record.candidates) - len(values)
    tried = f"{len(record.candidates)}" + (f" of {record.grid}" if record.grid > record.budget else "")
    best = record.best.value
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return TunedRow(
        method,
        tried + (f", {failed} failed" if failed else ""),
        shown(record.best.values),
        "–" if best is None else number(best) + spread,
    )


def tuned_as_markdown(table: TunedMethods) -> str:
    """The table as Markdown, with its caption below."""
    lines = [f"| method | candidates | chosen | {table.metric} |", "|---|---:|---|---:|"]
    lines += [f"| {row.method} | {row.tried} | {row.chosen} | {row.value} |" for row in table.rows]
    return "\n".join([*lines, "", table.caption])

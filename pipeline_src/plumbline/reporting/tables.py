"""Tables of the report: means and standard deviations over seeds, marks and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from plumbline.metrics._jackknife import PREFIX
from plumbline.reporting.marks import RULE, Values, half_interval, marked
from plumbline.study import REAL

COST_COLUMNS = {
    "cost_network_evaluations": ("network evaluations per sample", "1"),
    "cost_backward_passes": ("backward passes per sample", "1"),
    "cost_projection_solves": ("projection solves per sample", "1"),
    "cost_sampling_seconds_per_sample": ("sampling time per sample", "s"),
    "cost_effective_fraction": ("effective samples per sample", "1"),
}
ABOUT_CONSTRAINT = (
    "distance_",
    "equivalent_noise_",
    "largest_distance_",
    "relative_violation_",
    "mean_relative_violation_",
    "feasible_",
)
# Distances below this fraction of the largest are rounding errors, which do not determine an order.
ROUNDING = 1e-4
# The report warns about a metric that is below its floor by more than this fraction of it. The floor is a
# single estimate, often the same for all seeds.
BELOW_FLOOR = 0.5
# The report warns below these fractions of the recall and the distance to the training data of real data.
LOW_RECALL = 0.5
CLOSE_COPIES = 0.7


@dataclass(frozen=True)
class Cell:
    """An entry of a table: mean and standard deviation over seeds, and half of the 95% interval of the mean.

    Attributes:
        mean: the mean over seeds.
        std: the standard deviation over seeds; zero for a single seed.
        half_interval: half of the interval of the mean; NaN if it cannot be estimated.
        over: the sources of variation that the interval covers, as text.
        best: whether the entry is marked as best.
        within_floor: whether the mean is better than that of real data, which can only happen by chance.
    """

    mean: float
    std: float
    half_interval: float
    over: str = "seeds"
    best: bool = False
    within_floor: bool = False

    @property
    def text(self) -> str:
        """The entry with three significant digits, or a dash if nothing was measured."""
        if np.isnan(self.mean):
            return "–"
        spread = f" ± {number(self.std, 2)}" if self.std > 1e-9 * abs(self.mean) else ""
        return f"{number(self.mean)}{spread}"

    @property
    def hint(self) -> str:
        """The confidence interval as text."""
        if np.isnan(self.half_interval):
            return "no interval: a single seed, and no interval over test samples"
        floor = "; within the floor of real data" if self.within_floor else ""
        return f"95% interval over {self.over}: {number(self.mean)} ± {number(self.half_interval, 2)}{floor}"


@dataclass(frozen=True)
class Column:
    """One metric or cost.

    Attributes:
        name: the name of its variable in the comparison store.
        title: its name as text.
        unit: its unit.
        better: `lower`, `higher` or `neither`.
        floor: whether real data is the floor, which no method can be expected to surpass.
        remark: a remark on the marks of this column.
    """

    name: str
    title: str
    unit: str
    better: str
    floor: bool = True
    remark: str = ""


@dataclass(frozen=True)
class Table:
    """A table of methods by metrics.

    Attributes:
        columns: the metrics.
        rows: the entries of each method, in the order of the columns.
        seeds: the number of seeds.
    """

    columns: list[Column]
    rows: dict[str, list[Cell]] = field(default_factory=dict)
    seeds: int = 1

    def notes(self) -> list[str]:
        """The rule of marking and the remarks on columns, as sentences."""
        ranked = [column for column in self.columns if column.better != "neither"]
        if not ranked or REAL not in self.rows:
            return []  # checkpoints of a training are not marked
        remarks: dict[str, list[str]] = {}
        for column in ranked:
            if column.remark:
                remarks.setdefault(column.remark, []).append(column.title)
        within = [
            f"{method} ({', '.join(titles)})"
            for method, cells in self.rows.items()
            if (titles := [c.title for c, cell in zip(self.columns, cells, strict=True) if cell.within_floor])
        ]
        seeds = (
            ""
            if self.seeds > 1
            else " With a single seed the intervals are over test samples alone: "
            "the marks compare the trained weights."
        )
        return [
            f"{RULE}{seeds}",
            *(
                f"{remark[:1].upper()}{remark[1:]}: {', '.join(titles)}."
                for remark, titles in remarks.items()
            ),
            *([f"Within the floor of real data: {'; '.join(within)}."] if within else []),
        ]


def number(value: float, digits: int = 3) -> str:
    """Formats a number with `digits` significant digits, and a power of ten if it is very small or large."""
    if np.isnan(value):
        return "–"
    if value == round(value) and abs(value) < 1e5:
        return f"{value:.0f}"
    # Rounding may change the exponent: 9.97 with two digits is 10.
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    if -3 <= exponent < 5:
        return f"{value:.{max(0, digits - 1 - exponent)}f}"
    superscript = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value / 10**exponent:.{digits - 1}f}×10{superscript}"


def ordered_methods(comparison: xr.Dataset) -> list[str]:
    """Real data first, then the methods in decreasing order of their distance to the first constraint.

    Methods whose distance is a rounding error come last, in the study's order. Without a constraint, all
    methods are in the study's order.
    """
    others = [str(g) for g in comparison["methods"].values if g != REAL]
    # Variables of a store are in the arbitrary order of its folder listing.
    distances = [v for v in sorted(map(str, comparison.data_vars)) if v.startswith("distance_")]
    each = [name for name in distances if set(comparison[name].dims) == {"methods", "seed"}]
    if not each:
        return [REAL, *others]
    distance = comparison[each[0]].mean("seed")
    rounding = ROUNDING * float(distance.max())
    far = {g: float(distance.sel(methods=g)) for g in others}
    return [REAL, *sorted(others, key=lambda g: -far[g] if far[g] > rounding else 0.0)]


def metric_table(comparison: xr.Dataset, names: Sequence[str] | None = None) -> Table:
    """The table of metrics: all variables with one value per method and seed and an attribute `better`.

    Args:
        comparison: a study's comparison.
        names: the requested metrics, in order; None for all.

    Raises:
        ValueError: the comparison does not have one of the requested metrics.
    """
    return _table(comparison, _metric_columns(comparison, "methods", names))


def checkpoint_table(comparison: xr.Dataset, names: Sequence[str] | None = None) -> Table:
    """The table of metrics at checkpoints of the methods' models, with the training time; without marks.

    Raises:
        ValueError: no method of the study was evaluated at checkpoints, or the comparison does not have one
            of the requested metrics.
    """
    if "checkpoint_seconds" not in comparison:
        raise ValueError(
            "no method was evaluated at checkpoints: set `at_checkpoints` of a method in the study."
        )
    renamed = {
        n: str(n).removeprefix("checkpoint_")
        for n in comparison.data_vars
        if str(n).startswith("checkpoint_")
    }
    evaluated = comparison[list(renamed)].rename(renamed)
    columns = [
        Column("seconds", "training time", "s", "neither"),
        *_metric_columns(evaluated, "judged", names),
    ]
    steps = zip(evaluated["method"].values, evaluated["step"].values, strict=True)
    labels = [f"{g}, step {s}" for g, s in steps]
    rows = {
        label: [cell_of(evaluated[c.name].isel(judged=i).values) for c in columns]
        for i, label in enumerate(labels)
    }
    return Table(columns, rows)


def _metric_columns(comparison: xr.Dataset, along: str, names: Sequence[str] | None) -> list[Column]:
    """The metrics with one value per seed and entry of the dimension `along`."""
    known = {
        str(name): Column(
            str(name),
            variable.attrs["long_name"],
            variable.attrs["units"],
            variable.attrs["better"],
            bool(variable.attrs.get("floor", True)),
            str(variable.attrs.get("remark", "")),
        )
        for name, variable in comparison.data_vars.items()
        if "better" in variable.attrs and set(variable.dims) == {along, "seed"}
    }
    if names is None:
        return sorted(known.values(), key=_about_constraint_first)
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(f"there is no metric {', '.join(missing)}; there are {', '.join(known)}.")
    return [known[name] for name in names]


def _about_constraint_first(column: Column) -> tuple[int, str]:
    """Sort key: distances and violations of constraints, other metrics, further metrics of constraints."""
    first = column.name.startswith(("distance_", "relative_violation_"))
    return (0 if first else 2 if column.name.startswith(ABOUT_CONSTRAINT) else 1), column.name


def cost_table(comparison: xr.Dataset) -> Table:
    """The table of costs per sample; real data has no cost, shown as a dash.

    The number of effective samples is shown where it is not one for all methods.
    """
    columns = [
        Column(name, title, unit, "neither")
        for name, (title, unit) in COST_COLUMNS.items()
        if name != "cost_effective_fraction" or bool((comparison.get(name, xr.DataArray(1.0)) < 1).any())
    ]
    return _table(comparison, columns)


def as_markdown(table: Table) -> str:
    """A table as Markdown, with the best entries in bold."""
    titles = [c.title if c.unit == "1" else f"{c.title} ({c.unit})" for c in table.columns]
    lines = [f"| method | {' | '.join(titles)} |", "|---|" + "---:|" * len(titles)]
    for method, cells in table.rows.items():
        entries = [f"**{cell.text}**" if cell.best else cell.text for cell in cells]
        lines.append(f"| {'real data (floor)' if method == REAL else method} | {' | '.join(entries)} |")
    notes = [note.replace("★", "**Bold**", 1) for note in table.notes()]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _table(comparison: xr.Dataset, columns: list[Column]) -> Table:
    methods = ordered_methods(comparison)
    cells: dict[str, list[Cell]] = {g: [] for g in methods}
    remarked = []
    for column in columns:
        column, own = _column_cells(comparison, column, methods)
        remarked.append(column)
        for g in methods:
            cells[g].append(own[g])
    return Table(remarked, cells, comparison.sizes.get("seed", 1))


def _column_cells(
    comparison: xr.Dataset, column: Column, methods: list[str]
) -> tuple[Column, dict[str, Cell]]:
    """The column with its remark, and the cells of each method with their marks."""
    table, replicates = seeds_and_replicates(comparison, column.name, methods)
    cells = {g: cell_of(table[i], replicates[i]) for i, g in enumerate(methods)}
    if column.better == "neither":
        return column, cells
    drawn = [i for i, g in enumerate(methods) if g != REAL]
    feasible, violated = _feasible(comparison, column.name, methods)
    if violated:
        return replace(column, remark="not marked, since the data itself violates the constraint"), cells
    ties = np.outer(feasible, feasible)[np.ix_(drawn, drawn)]
    values = Values(table[drawn], replicates[drawn], column.better == "lower", ties)
    marks, apart = marked(values)
    for i, mark in zip(drawn, marks, strict=True):
        g, real = methods[i], cells.get(REAL)
        beaten = real is not None and column.floor and not np.isnan(real.mean) and not feasible[i]
        sign = 1.0 if column.better == "lower" else -1.0
        within = bool(beaten and real is not None and sign * cells[g].mean < sign * real.mean)
        cells[g] = replace(cells[g], best=bool(mark), within_floor=within)
    if apart or len(drawn) < 2 or not np.isfinite(values.seeds).any():
        return column, cells
    if table.shape[1] == 1 and not replicates.size:
        return replace(
            column, remark="not compared, since there is a single seed and no interval over test samples"
        ), cells
    return replace(column, remark="not distinguishable"), cells


def seeds_and_replicates(
    comparison: xr.Dataset, name: str, methods: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The values (K, S) of a metric, and its replicates (K, S, G), where G is zero if it has none."""
    table = comparison[name].sel(methods=methods).transpose("methods", "seed").values.astype(float)
    key = f"{PREFIX}{name}"
    if key not in comparison:
        return table, np.zeros((*table.shape, 0))
    again = comparison[key].sel(methods=methods).transpose("methods", "seed", "replicate")
    return table, again.values.astype(float)


def _feasible(comparison: xr.Dataset, name: str, methods: list[str]) -> tuple[np.ndarray, bool]:
    """Which methods satisfy the constraint that a metric measures, and whether real data violates it.

    A method satisfies a constraint if its largest relative violation is within the tolerance.
    """
    attrs = comparison[name].attrs
    violation = f"relative_violation_{attrs.get('constraint')}"
    none = np.zeros(len(methods), bool)
    if violation not in comparison:
        return none, False
    largest = comparison[violation].sel(methods=methods).max("seed").values
    feasible = largest <= float(attrs["tolerance"])
    real = feasible[methods.index(REAL)] if REAL in methods else True
    return feasible, not real


def cell_of(values: np.ndarray, replicates: np.ndarray | None = None) -> Cell:
    """The entry of a method, from its values (S,) over seeds and their replicates (S, G)."""
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    if not known.any():
        return Cell(np.nan, np.nan, np.nan)
    values = values[known]
    again = np.zeros((len(values), 0)) if replicates is None else replicates[known]
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    sources = [
        what
        for what, there in (("seeds", len(values) > 1), ("test samples", np.isfinite(again).any()))
        if there
    ]
    return Cell(float(values.mean()), spread, half_interval(values, again), " and ".join(sources))


def warnings_of(comparison: xr.Dataset) -> list[str]:
    """Warnings about methods that seem better than real data, collapse to a part of it or copy it."""
    table = metric_table(comparison)
    index = {column.name: i for i, column in enumerate(table.columns)}
    floor = table.rows[REAL]
    found = []
    for method, cells in table.rows.items():
        if method == REAL:
            continue
        for column, cell, real in zip(table.columns, cells, floor, strict=True):
            floored = column.floor and not column.name.startswith(ABOUT_CONSTRAINT)
            if column.better != "lower" or not floored or np.isnan(cell.mean) or np.isnan(real.mean):
                continue
            if cell.mean < real.mean - max(2 * real.std, BELOW_FLOOR * abs(real.mean)):
                found.append(
                    f"{method}: its {column.title} ({number(cell.mean)}) is below that of real data "
                    f"({number(real.mean)}). No method can be closer to the test split than another set of "
                    "real data: look for copies of the data, or draw more samples."
                )
        if "recall" in index:
            recall, real_recall = cells[index["recall"]].mean, floor[index["recall"]].mean
            precision, real_precision = cells[index["precision"]].mean, floor[index["precision"]].mean
            if recall < LOW_RECALL * real_recall and precision >= real_precision:
                found.append(
                    f"{method}: its precision is at least that of real data ({number(precision)}), but its "
                    f"recall is low ({number(recall)}, real data {number(real_recall)}): it has collapsed to "
                    "a part of the data."
                )
        if "collapsed" in index and cells[index["collapsed"]].mean > 0:
            asked = "label_accuracy" if "label_accuracy" in index else "attribute_accuracy"
            accuracy, recall = (cells[index[name]].mean for name in (asked, "recall_over_real"))
            found.append(
                f"{method}: its samples match their requested labels more often ({number(accuracy)}) than "
                f"real data does, but its recall is {number(recall)} times that of real data: this is "
                "collapse, not success."
            )
        if "memorisation" in index:
            near, real_near = cells[index["memorisation"]].mean, floor[index["memorisation"]].mean
            if near < CLOSE_COPIES * real_near:
                found.append(
                    f"{method}: its samples are {number(near)} times as far from the training data as the "
                    f"test split is, real data {number(real_near)} times: they may be copies."
                )
    return found

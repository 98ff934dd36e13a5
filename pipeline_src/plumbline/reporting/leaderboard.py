r"""Leaderboards: methods by problems, from the comparisons of several studies.

A study is a problem. There is a table for each quantity, for methods with exact denoisers (models
`exact_mixture` and `fitted_gaussian`, whose errors are those of the sampler alone) and for all others.

- *Violation*: the largest relative violation of any constraint.
- *Distance over floor*: a distance to the test split divided by its floor. The floor is the root mean square
  over seeds of the distance of real data, or its standard error by the jackknife if that is larger: an
  unbiased distance of real data is zero on average, and its typical size is its noise.
- *Cost*: network evaluations plus twice the backward passes, for an effective sample. Copies of one particle
  are one effective sample: samples of a particle sampler count by the fraction of different ancestors among
  them, others fully.

A rank is a statement about a pair of methods. Method a precedes b only if the paired t test of
`plumbline.reporting.marks` says that b is worse, at a level of 5% corrected for all ordered pairs of a
column. If p methods precede a method and f follow it, its rank lies between 1 + p and K - f. With a single
seed there are no ranks.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from plumbline.metrics._jackknife import PREFIX
from plumbline.reporting.marks import Values, marked, worse
from plumbline.reporting.tables import Cell, Column, Table, cell_of, number, seeds_and_replicates
from plumbline.study import REAL

EXACT = ("exact_mixture", "fitted_gaussian")
"""Kinds of models whose denoisers are exact."""
DISTANCES = ("energy_distance", "conditional_gaussian", "sliced_wasserstein", "mmd")
"""Distances to the test split; of those that a study has, the first is shown."""
GROUPS = {
    "exact": "exact denoisers",
    "learned": "learned denoisers, and samples of other programs",
}
"""Titles of the groups of methods."""


@dataclass(frozen=True)
class Standing(Cell):
    """An entry of a leaderboard.

    Attributes:
        ranks: the first and the last rank that the method may have; None if no two methods differ.
    """

    ranks: tuple[int, int] | None = None

    @property
    def text(self) -> str:
        """The mean over seeds, half of its interval, and the ranks in brackets."""
        if np.isnan(self.mean):
            return "–"
        spread = f" ± {number(self.half_interval, 2)}" if self.half_interval > 1e-9 * abs(self.mean) else ""
        if self.ranks is None:
            return f"{number(self.mean)}{spread}"
        first, last = self.ranks
        return f"{number(self.mean)}{spread} ({first if first == last else f'{first}–{last}'})"


@dataclass(frozen=True)
class Leaderboard(Table):
    """A table of methods by problems.

    Attributes:
        title: the quantity and the group of methods.
        about: remarks on the quantity.
        ranked: whether some column has ranks.
    """

    title: str = ""
    about: str = ""
    ranked: bool = False

    def notes(self) -> list[str]:
        """What the entries mean, as sentences."""
        compared = any(column.better != "neither" for column in self.columns)
        said = [self.about, "Mean over seeds ± half of its 95% interval."]
        if self.ranked:
            said.append(
                "In brackets: the ranks that a method may have, by paired t tests of all methods of a column "
                "over seeds and groups of test samples, at a level of 5% corrected for the number of pairs. "
                "★: no other method is significantly better."
            )
        elif compared:
            said.append("No two methods differ significantly, so that there are no ranks.")
        if self.seeds < 2 and compared:
            said.append("A problem with a single seed has no ranks: nothing can be told apart.")
        remarks = [f"{column.title}: {column.remark}." for column in self.columns if column.remark]
        return [" ".join(said), *remarks]


@dataclass(frozen=True)
class Problem:
    """A study of a leaderboard.

    Attributes:
        name: its name.
        values: the variables of its comparison with one value per method and seed, and their replicates.
        denoisers: `exact`, `learned` or `external` for each method, the latter for samples from a file.
    """

    name: str
    values: xr.Dataset
    denoisers: dict[str, str]

    @classmethod
    def of(cls, comparison: xr.Dataset) -> Problem:
        """The problem of a study's comparison."""
        study = json.loads(comparison.attrs["study"])
        dims = {"methods", "seed", "replicate"}
        kept = [name for name, value in comparison.data_vars.items() if "seed" in value.dims and
                "methods" in value.dims and set(value.dims) <= dims]  # fmt: skip
        denoisers = {}
        known = {name: study["methods"][name] for name in study["methods"] if name in comparison["methods"]}
        for name, method in known.items():
            names = [method["model"]] if isinstance(method["model"], str) else method["model"]
            exact = all(study["models"][model]["kind"] in EXACT for model in names)
            denoisers[name] = "external" if not names else "exact" if exact else "learned"
        return cls(study["name"], comparison[kept].load(), denoisers)

    def methods(self, group: str) -> dict[str, str]:
        """The methods of a group, by their names in the leaderboard."""
        return {
            self.label(name): name
            for name, denoiser in self.denoisers.items()
            if (denoiser == "exact") == (group == "exact")
        }

    def label(self, method: str) -> str:
        """The name of a method without an ending that names its denoiser: `eci` for `eci_exact`."""
        return method.removesuffix(f"_{self.denoisers.get(method, '')}")

    def costs(self) -> xr.DataArray:
        """The cost of an effective sample, of each method and seed; NaN where it is unknown."""
        found = self.values["cost_network_evaluations"] + 2 * self.values["cost_backward_passes"]
        if "cost_effective_fraction" in self.values:
            found = found / self.values["cost_effective_fraction"].where(lambda one: one > 0)
        return found

    def distance(self) -> str | None:
        """The distance that is shown; None if the study has none."""
        return next((name for name in DISTANCES if name in self.values), None)

    def floor(self, name: str) -> float:
        """The floor of a distance: its typical size for real data."""
        seeds, replicates = seeds_and_replicates(self.values, name, [REAL])
        typical = float(np.sqrt(np.nanmean(seeds**2)))
        if not replicates.size:
            return typical
        groups = replicates.shape[-1]
        return max(typical, float(np.sqrt((groups - 1) * replicates.var(-1).mean())))

    def violations(self) -> tuple[xr.DataArray, xr.DataArray] | None:
        """The largest relative violation of each method and seed, and which are within the tolerance."""
        names = [name for name in map(str, self.values) if name.startswith("relative_violation_")]
        if not names:
            return None
        each = [self.values[name] for name in sorted(names)]
        inside = [one <= float(one.attrs["tolerance"]) for one in each]
        largest = xr.concat(each, "constraint", combine_attrs="drop").max("constraint")
        return largest, xr.concat(inside, "constraint").all("constraint")


@dataclass(frozen=True)
class Quantity:
    """What a leaderboard shows of each problem.

    Attributes:
        title: its name.
        better: `lower` or `neither`.
        about: what it is, as a sentence.
    """

    title: str
    better: str
    about: str


QUANTITIES = {
    "violation": Quantity("Violation", "lower", "The largest relative violation of any constraint."),
    "mean_mse": Quantity(
        "Error of the mean", "lower", "MMSE: mean square error of the coordinates' means, in the data's unit."
    ),
    "std_mse": Quantity(
        "Error of the spread",
        "lower",
        "SMSE: mean square error of the coordinates' standard deviations, in the data's unit.",
    ),
    "distance": Quantity(
        "Distance over floor",
        "lower",
        "A distance to the exact distribution, divided by its typical size for real data.",
    ),
    "branch_distance": Quantity(
        "Error of the branches", "lower", "Total variation distance of the branches' fractions."
    ),
    "cost": Quantity(
        "Cost of an effective sample",
        "neither",
        "Network evaluations plus twice the backward passes. Samples of a particle sampler count by the "
        "fraction of different ancestors among them.",
    ),
}
"""The quantities in the order of the tables."""


def shared_methods(problems: Sequence[Problem]) -> list[str]:
    """The names of the methods that two or more problems have."""
    found = [label for problem in problems for label in {problem.label(name) for name in problem.denoisers}]
    return sorted({label for label in found if found.count(label) > 1})


def leaderboards(problems: Sequence[Problem]) -> list[Leaderboard]:
    """The tables of all quantities that some problem has, for each group of methods in turn."""
    boards = []
    for group in GROUPS:
        among = [problem for problem in problems if problem.methods(group)]
        for name in QUANTITIES:
            board = _board(among, group, name)
            if board is not None:
                boards.append(board)
    return boards


def _board(problems: Sequence[Problem], group: str, name: str) -> Leaderboard | None:
    quantity = QUANTITIES[name]
    columns: list[Column] = []
    found: list[dict[str, Standing]] = []
    for problem in problems:
        measured = _measured(problem, name, [REAL, *problem.methods(group).values()])
        if measured is not None:
            column, values = measured
            columns.append(column)
            found.append(dict(zip([REAL, *problem.methods(group)], _standings(column, values), strict=True)))
    if not columns:
        return None
    missing = Standing(np.nan, np.nan, np.nan)
    labels = list(dict.fromkeys(label for own in found for label in own))
    rows: dict[str, list[Cell]] = {label: [own.get(label, missing) for own in found] for label in labels}
    ranked = any(one.ranks is not None for own in found for one in own.values())
    seeds = min(problem.values.sizes["seed"] for problem in problems)
    title = f"{quantity.title}: {GROUPS[group]}"
    return Leaderboard(columns, rows, seeds, title, quantity.about, ranked)


def _measured(problem: Problem, name: str, methods: list[str]) -> tuple[Column, Values] | None:
    """The column of a problem, and the values of a quantity; None if the study does not have it."""
    better, remark = QUANTITIES[name].better, ""
    feasible: np.ndarray = np.zeros(len(methods), bool)
    if name == "cost":
        seeds = problem.costs().sel(methods=methods).transpose("methods", "seed").values.astype(float)
        replicates = np.zeros((*seeds.shape, 0))
    elif name == "violation":
        known = problem.violations()
        if known is None:
            return None
        largest, inside = (one.sel(methods=methods).transpose("methods", "seed").values for one in known)
        seeds, replicates = largest.astype(float), np.zeros((*largest.shape, 0))
        feasible = np.asarray(inside.all(1))
        if not feasible[0]:
            better, remark = "neither", "not compared, since the data itself violates the constraint"
    else:
        variable = problem.distance() if name == "distance" else name
        if variable is None or variable not in problem.values:
            return None
        seeds, replicates = seeds_and_replicates(problem.values, variable, methods)
        if name == "distance":
            floor = problem.floor(variable)
            if not floor > 0:
                return None
            seeds, replicates = seeds / floor, replicates / floor
            title = problem.values[variable].attrs.get("long_name", variable)
            remark = f"{title}, floor {number(floor)}"
    column = Column(problem.name, problem.name, "1", better, remark=remark)
    return column, Values(seeds, replicates, better != "higher", np.outer(feasible, feasible))


def _standings(column: Column, values: Values) -> Iterator[Standing]:
    """The entries of real data, which has no rank, and of the methods."""
    cells = [cell_of(seeds, again) for seeds, again in zip(values.seeds, values.replicates, strict=True)]
    drawn = Values(values.seeds[1:], values.replicates[1:], values.lower, values.ties[1:, 1:])
    ranks: list[tuple[int, int] | None] = [None] * len(drawn.seeds)
    best: np.ndarray = np.zeros(len(drawn.seeds), bool)
    if column.better != "neither" and drawn.seeds.shape[1] > 1:
        best, apart = marked(drawn)
        known = np.isfinite(drawn.seeds).all(1)
        if apart:
            count = int(known.sum())
            behind = worse(drawn, count * (count - 1))
            ranks = [
                (1 + int(behind[i].sum()), count - int(behind[:, i].sum())) if known[i] else None
                for i in range(len(known))
            ]
    marks = zip(cells, [False, *best], [None, *ranks], strict=True)
    for cell, mark, rank in marks:
        yield Standing(cell.mean, cell.std, cell.half_interval, cell.over, bool(mark), ranks=rank)


CSV_HEADER = ("problem", "denoiser", "method", "seed", "metric", "value", "cost")


def tidy_csv(problems: Sequence[Problem]) -> str:
    """All metrics as CSV, one row per problem, method, seed and metric.

    Real data are the method `real` with the denoiser `none`. `violation` and `distance_over_floor` are those
    of the leaderboards. The cost is that of an effective sample; what is unknown is empty.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(CSV_HEADER)
    for problem in problems:
        metrics = _columns(problem)
        costs = problem.costs()
        for name in (REAL, *problem.denoisers):
            denoiser = problem.denoisers.get(name, "none")
            for seed in problem.values["seed"].values:
                cost = _text(float(costs.sel(methods=name, seed=seed)))
                for metric, values in metrics.items():
                    value = float(values.sel(methods=name, seed=seed))
                    row = (problem.name, denoiser, problem.label(name), int(seed), metric)
                    rows.writerow([*row, _text(value), cost])
    return text.getvalue()


def _columns(problem: Problem) -> Mapping[str, xr.DataArray]:
    """The values of all metrics by name, in alphabetical order, and those of the leaderboards."""
    found = {
        str(name): value
        for name, value in problem.values.data_vars.items()
        if "better" in value.attrs and not str(name).startswith(PREFIX) and "replicate" not in value.dims
    }
    violations, distance = problem.violations(), problem.distance()
    if violations is not None:
        found["violation"] = violations[0]
    if distance is not None and problem.floor(distance) > 0:
        found["distance_over_floor"] = problem.values[distance] / problem.floor(distance)
    return dict(sorted(found.items()))


def _text(value: float) -> str:
    return repr(value) if np.isfinite(value) else ""

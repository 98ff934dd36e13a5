"""Leaderboards: groups of denoisers, ranks by the paired test, floors, costs, and the tidy CSV."""

import csv
import io
import json

import numpy as np
import pytest
import xarray as xr

from plumbline.cli import main
from plumbline.reporting.leaderboard import (
    CSV_HEADER,
    Problem,
    leaderboards,
    shared_methods,
    tidy_csv,
)
from plumbline.stages.evaluate import effective_fraction
from plumbline.storage.store import provenance, write_store

MODELS = {
    "exact": {"kind": "exact_mixture"},
    "fit": {"kind": "fitted_gaussian"},
    "net": {"kind": "diffusion"},
}
METHODS = {
    "eci_exact": {"model": "exact"},
    "ours_exact": {"model": "fit"},
    "eci_learned": {"model": ["net"]},
    "ours_learned": {"model": "net"},
    "theirs": {"model": []},
}
NAMES = ["real", *METHODS]
LOWER = {"better": "lower", "long_name": "a distance", "units": "1"}
SEEDS = 5


def comparison(name="ring", seeds=SEEDS, **columns):
    """A comparison in which each column has a mean per name, or an array of values per name and seed."""
    wiggle = 1 + 0.01 * np.resize([-1.0, 1.0, 0.5, -0.5, 0.0], seeds)
    data = {}
    defaults = {
        "relative_violation_c": [1e-9, 1e-9, 1e-8, 1e-9, 1e-8, 1e-9],
        "energy_distance": [0.5, 4.0, 1.0, 6.0, 2.0, 9.0],
        "mean_mse": [0.1, 0.4, 0.2, 0.6, 0.3, 0.9],
        "cost_network_evaluations": [np.nan, 64, 96, 64, 96, np.nan],
        "cost_backward_passes": [np.nan, 0, 10, 0, 10, np.nan],
        "cost_effective_fraction": [np.nan, 1.0, 0.5, 1.0, 0.5, 1.0],
    }
    for key, values in (defaults | columns).items():
        values = np.asarray(values, float)
        if values.ndim == 1:
            values = values[:, None] * (1.0 if key.startswith("cost_") else wiggle)
        tolerance = {"tolerance": 1e-6} if key.startswith("relative") else {}
        attrs = {} if key.startswith("cost_") else LOWER | tolerance
        data[key] = (("methods", "seed"), np.broadcast_to(values, (len(NAMES), seeds)).copy(), attrs)
    coords = {"methods": NAMES, "seed": np.arange(seeds)}
    study = {"name": name, "methods": METHODS, "models": MODELS}
    return xr.Dataset(data, coords=coords, attrs={"study": json.dumps(study)})


def board(title, *comparisons):
    found = {one.title: one for one in leaderboards([Problem.of(each) for each in comparisons])}
    return found[title]


EXACT, LEARNED = "exact denoisers", "learned denoisers, and samples of other programs"


def test_exact_and_learned_denoisers_are_apart():
    problem = Problem.of(comparison())
    assert problem.methods("exact") == {"eci": "eci_exact", "ours": "ours_exact"}
    assert problem.methods("learned") == {"eci": "eci_learned", "ours": "ours_learned", "theirs": "theirs"}
    assert problem.denoisers["theirs"] == "external"
    exact = board(f"Error of the mean: {EXACT}", comparison())
    assert list(exact.rows) == ["real", "eci", "ours"]
    assert exact.rows["eci"][0].mean == pytest.approx(0.4)
    learned = board(f"Error of the mean: {LEARNED}", comparison())
    assert learned.rows["eci"][0].mean == pytest.approx(0.6)


def test_a_method_that_a_problem_lacks_is_a_dash():
    other = comparison("line")
    study = json.loads(other.attrs["study"])
    study["methods"].pop("theirs")
    other = other.sel(methods=NAMES[:-1]).assign_attrs(study=json.dumps(study))
    table = board(f"Distance over floor: {LEARNED}", comparison(), other)
    assert [column.title for column in table.columns] == ["ring", "line"]
    assert table.rows["theirs"][1].text == "–" and table.rows["theirs"][0].mean > 1
    assert "theirs" not in shared_methods([Problem.of(comparison()), Problem.of(other)])
    assert shared_methods([Problem.of(comparison()), Problem.of(other)]) == ["eci", "ours"]
    assert shared_methods([Problem.of(comparison())]) == []
    assert len(leaderboards([Problem.of(comparison())])) == 8


def test_methods_that_the_test_tells_apart_have_ranks():
    """Differences of a factor of 1.5 and more, at 1% of variation over five seeds."""
    table = board(f"Distance over floor: {LEARNED}", comparison())
    ranks = {name: cells[0].ranks for name, cells in table.rows.items()}
    assert ranks == {"real": None, "eci": (2, 2), "ours": (1, 1), "theirs": (3, 3)}
    assert [name for name, cells in table.rows.items() if cells[0].best] == ["ours"]
    assert table.rows["ours"][0].text.endswith(" (1)")
    assert "at a level of 5% corrected for the number of pairs" in table.notes()[0]


def test_methods_that_differ_less_than_their_seeds_share_ranks():
    rng = np.random.default_rng(0)
    values = np.array([0.5, 4.0, 4.0, 2.0, 2.02, 20.0])[:, None] * np.exp(
        0.2 * rng.standard_normal((6, SEEDS))
    )
    table = board(f"Distance over floor: {LEARNED}", comparison(energy_distance=values))
    ranks = {name: cells[0].ranks for name, cells in table.rows.items()}
    assert ranks == {"real": None, "eci": (1, 2), "ours": (1, 2), "theirs": (3, 3)}
    assert "(1–2)" in table.rows["eci"][0].text
    exact = board(f"Distance over floor: {EXACT}", comparison(energy_distance=values))
    assert all(cells[0].ranks is None and not cells[0].best for cells in exact.rows.values())
    assert "No two methods differ significantly" in exact.notes()[0]


def test_equal_methods_seldom_get_ranks():
    """At a level of 5%, 15 of 300 tables of equal methods have ranks on average.

    Thirty are four standard deviations more.
    """
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(300):
        values = np.exp(0.3 * rng.standard_normal((6, SEEDS)))
        found += board(f"Error of the mean: {LEARNED}", comparison(mean_mse=values)).ranked
    assert found < 30


def test_a_single_seed_ranks_nothing():
    table = board(f"Distance over floor: {LEARNED}", comparison(seeds=1))
    assert all(cell.ranks is None and not cell.best for cells in table.rows.values() for cell in cells)
    assert "A problem with a single seed has no ranks: nothing can be told apart." in table.notes()[0]


def test_violations_within_the_tolerance_are_ties():
    """The second and the fourth method are feasible; rounding errors of theirs differ by a factor of ten."""
    violations = [1e-9, 1e-9, 1e-8, 1e-9, 1e-8, 0.1]
    table = board(f"Violation: {LEARNED}", comparison(relative_violation_c=violations))
    ranks = {name: cells[0].ranks for name, cells in table.rows.items()}
    assert ranks == {"real": None, "eci": (1, 2), "ours": (1, 2), "theirs": (3, 3)}
    infeasible = board(f"Violation: {LEARNED}", comparison(relative_violation_c=[0.1, *violations[1:]]))
    assert not infeasible.ranked
    assert "ring: not compared, since the data itself violates the constraint." in infeasible.notes()


def test_the_largest_of_several_violations_counts():
    other = comparison().assign(
        relative_violation_d=(("methods", "seed"), np.full((6, SEEDS), 0.25), LOWER | {"tolerance": 1.0})
    )
    assert board(f"Violation: {EXACT}", other).rows["eci"][0].mean == 0.25


def test_the_floor_is_the_typical_size_for_real_data():
    """An unbiased distance of real data has both signs, and a mean near zero."""
    values = np.full((6, SEEDS), 3.0)
    values[0] = [2.0, -2.0, 2.0, -2.0, -2.0]
    found = Problem.of(comparison(energy_distance=values))
    assert found.floor("energy_distance") == pytest.approx(2.0)
    table = board(f"Distance over floor: {EXACT}", comparison(energy_distance=values))
    assert table.rows["eci"][0].mean == pytest.approx(1.5)
    assert "ring: a distance, floor 2." in table.notes()


def test_the_floor_is_no_less_than_its_standard_error():
    """Where each seed gives the same real data, one value near zero is no floor: the jackknife is."""
    groups = np.linspace(-1.0, 1.0, 10)
    again = np.broadcast_to(groups, (6, SEEDS, 10))
    data = comparison(energy_distance=[1e-3, 3, 3, 3, 3, 3]).assign(
        replicates_energy_distance=(("methods", "seed", "replicate"), again)
    )
    expected = np.sqrt(9 * groups.var())
    assert Problem.of(data).floor("energy_distance") == pytest.approx(expected)


def test_cost_is_that_of_an_effective_sample():
    """96 evaluations and 10 backward passes a sample, of which half are copies of others."""
    table = board(f"Cost of an effective sample: {EXACT}", comparison())
    assert table.rows["ours"][0].mean == (96 + 2 * 10) / 0.5
    assert table.rows["eci"][0].mean == 64
    assert table.rows["ours"][0].text == "232" and table.rows["real"][0].text == "–"
    learned = board(f"Cost of an effective sample: {LEARNED}", comparison())
    assert learned.rows["theirs"][0].text == "–"


def test_effective_samples_are_those_of_different_ancestors():
    state = xr.Dataset({"state": ("sample", np.zeros(4))})
    assert effective_fraction(state) == 1.0
    few = state.assign(effective_sample_size=("sample", [0.2, 0.2, 0.4, 0.4]))
    assert effective_fraction(few) == pytest.approx(0.3)
    assert effective_fraction(few.assign(distinct_ancestors=("sample", [0.5, 0.5, 1.0, 1.0]))) == 0.75


def test_the_csv_has_a_row_for_each_value():
    data = comparison()
    text = tidy_csv([Problem.of(data), Problem.of(comparison("line"))])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert tuple(rows[0]) == CSV_HEADER
    metrics = {"relative_violation_c", "energy_distance", "mean_mse", "violation", "distance_over_floor"}
    assert len(rows) == 2 * len(NAMES) * SEEDS * len(metrics)
    key = {name: rows[0][name] for name in CSV_HEADER[:2]}
    assert key == {"problem": "ring", "denoiser": "none"}
    (found,) = (
        row for row in rows
        if row["problem"] == "line" and row["denoiser"] == "exact" and row["method"] == "ours"
        and row["seed"] == "3" and row["metric"] == "mean_mse"
    )  # fmt: skip
    assert float(found["value"]) == float(data["mean_mse"].sel(methods="ours_exact", seed=3))
    assert float(found["cost"]) == 232
    assert {row["cost"] for row in rows if row["method"] in ("real", "theirs")} == {""}
    assert {row["denoiser"] for row in rows if row["method"] == "theirs"} == {"external"}


def test_the_command_prints_the_tables_and_writes_the_csv(tmp_path, capsys):
    folders = []
    for name in ("ring", "line"):
        folders.append(tmp_path / "results" / name)
        write_store(comparison(name), folders[-1] / "comparison.zarr", provenance(""))
    output = tmp_path / "data.csv"
    assert main(["leaderboard", *map(str, folders), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert f"## Distance over floor: {EXACT}" in said and "| method | ring | line |" in said
    assert output.read_text().startswith(",".join(CSV_HEADER))
    assert main(["leaderboard", str(folders[0]), "--format", "latex"]) == 0
    assert r"\begin{tabular}" in capsys.readouterr().out


def test_the_command_without_results_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard"]) == 1
    assert "there is no comparison below results" in capsys.readouterr().err

"""The projects under `examples/` at smoke scale: they run, and what must be feasible is."""

from pathlib import Path

import pytest

import plumbline

EXAMPLES = Path(__file__).parents[1] / "examples"
FEASIBLE = {
    "heat": {"conserving": "heat", "final_projection": "heat_and_sensors", "conditioned": "heat_and_sensors"},
    "pendulum": {"final_projection": "energy"},
    "sphere": {"final_projection": "sphere", "projected": "sphere"},
}


def test_every_example_is_tested():
    assert {folder.name for folder in EXAMPLES.iterdir() if folder.is_dir()} == set(FEASIBLE)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEASIBLE)
def test_it_runs_and_is_feasible(name, tmp_path, monkeypatch):
    monkeypatch.chdir(EXAMPLES / name)
    results = plumbline.run(name, scale="smoke", results=tmp_path / "results")
    table = results.comparison
    for method, constraint in FEASIBLE[name].items():
        assert float(table[f"relative_violation_{constraint}"].sel(methods=method).max()) < 1e-5, method
        # Real data is feasible too: what the example calls a constraint is one of its data.
        assert float(table[f"relative_violation_{constraint}"].sel(methods="real").max()) < 2e-4

"""Imports go down, never up, and the light modules stay light."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "pipeline_src" / "plumbline"
FLOORS = {
    "linalg": 0, "solvers": 0,
    "distributions": 1, "networks": 1,
    "constraints": 2, "observations": 2, "attributes": 2,
    "samplers": 3,
    "models": 4, "datasets": 4, "metrics": 4, "reporting": 4, "training": 4,
    "stages": 5,
    "cli": 6,
}  # fmt: skip
BESIDE = {
    "spec",
    "study",
    "study_file",
    "store",
    "storage",
    "coordinates",
    "progress",
    "training_log",
    "__init__",
}
BESIDE |= {"fingerprints", "handover", "input_files", "study_file"}
# The specs of a study name the kinds of every room; that is what study.py is for. `training` knows its own spec.


def room(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    return {name.split(".")[1] for name in names if name.startswith("plumbline.")}


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_down(path):
    own = room(path)
    if own in BESIDE:
        return
    for other in imported(path) - BESIDE - {own}:
        assert FLOORS[own] >= FLOORS[other], (
            f"{own} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[other]})"
        )


def test_every_module_has_a_place():
    assert {room(path) for path in MODULES} <= set(FLOORS) | BESIDE


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) in FLOORS], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_docstrings_say_what_a_module_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"

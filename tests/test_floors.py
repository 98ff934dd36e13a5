"""Imports go down, never up or around; every module has a docstring; a public module is a kind of its name.

Three sets below list the current exceptions to these rules. They may only shrink: a test fails on a new
exception, and on an entry that no longer applies, which must then be deleted.
"""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import get_args

import pytest

from plumbline.spec import Kind

SOURCE = Path(__file__).parents[1] / "pipeline_src" / "plumbline"
FLOORS = {
    "linalg": 0, "solvers": 0,
    "distributions": 1, "networks": 1,
    "constraints": 2, "observations": 2, "attributes": 2,
    "samplers": 3,
    "datasets": 4, "training": 4,
    "models": 5,
    "metrics": 6,
    "reporting": 7,
    "stages": 8,
    "results": 9, "in_process": 9, "project": 9, "numpy_task": 9, "export": 9, "estimation": 9,
    "estimate_command": 10, "commands": 11, "cli": 12, "forkserver": 13,
}  # fmt: skip
KNOWN_UPWARD: set[str] = set()
"""Imports that go up today."""
BESIDE = {
    "spec",
    "plan",
    "study",
    "method",
    "tuning",
    "study_file",
    "storage",
    "coordinates",
    "devices",
    "interruption",
    "progress",
    "__init__",
}
BESIDE |= {
    "fingerprints",
    "handover",
    "input_files",
    "study_file",
    "_capabilities",
    "_lazy",
    "results",
    "user_code",
    "workflow_files",
    "extras",
    "estimates",
    "estimating",
    "machine",
    "resources",
    "project",
    "template",
    "template_kinds",
    "template_denoiser",
}
# The specs of a study name the kinds of every package; that is the purpose of study.py.


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
        assert FLOORS[own] > FLOORS[other] or f"{own} -> {other}" in KNOWN_UPWARD, (
            f"{own} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[other]})"
        )


def test_known_imports_upward_are_still_there():
    found = {f"{room(path)} -> {other}" for path in MODULES for other in imported(path)}
    gone = sorted(KNOWN_UPWARD - found)
    assert not gone, f"nothing imports these any more, delete them from KNOWN_UPWARD: {', '.join(gone)}"


def test_every_module_has_a_place():
    assert {room(path) for path in MODULES} <= set(FLOORS) | BESIDE


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) in FLOORS], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_docstrings_say_what_a_module_is(path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"


KNOWN_CIRCLES: set[str] = set()
"""Imports that currently close a cycle, as `importer -> imported`."""


def name_of(path: Path) -> str:
    """The name of a module below `plumbline`; an empty string for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


PATHS = {name_of(path): path for path in MODULES}


def run_time_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module, including those within functions, except those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield other
                yield from run_time_nodes(other)
        else:
            yield node
            yield from run_time_nodes(node)


def imported_modules(tree: ast.AST) -> set[str]:
    """The modules that a module imports when it runs.

    `from a import b` counts as `a.b` if that is a module, else as `a`.
    """
    found = set()
    for node in run_time_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {below_plumbline(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name their modules in full"
            for alias in node.names:
                member = below_plumbline(f"{node.module}.{alias.name}")
                found.add(member if member in PATHS else below_plumbline(node.module))
    return found & set(PATHS)


def below_plumbline(name: str) -> str | None:
    """A module's name as in PATHS; None for a module of another library."""
    first, _, rest = name.partition(".")
    return rest if first == "plumbline" else None


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """The imports of each module, by name."""
    return {name: imported_modules(ast.parse(path.read_text())) for name, path in PATHS.items()}


@pytest.fixture(scope="module")
def known() -> list[tuple[str, str]]:
    return [tuple(line.split(" -> ")) for line in sorted(KNOWN_CIRCLES)]


@pytest.fixture(scope="module")
def without_known(imports, known) -> dict[str, set[str]]:
    return {name: {other for other in found if (name, other) not in known} for name, found in imports.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of an import cycle, in order, the first one repeated at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    found, ahead = set(), [start]
    while ahead:
        ahead.extend(graph[name := ahead.pop()] - found)
        found.add(name)
    return found


def test_imports_do_not_go_in_circles(without_known):
    found = circle(without_known)
    assert not found, f"modules import each other in a circle: {' -> '.join(found)}"


def test_known_circles_are_still_there(without_known, imports, known):
    gone = [
        f"{importer} -> {other}"
        for importer, other in known
        if other not in imports.get(importer, ()) or importer not in reached(without_known, other)
    ]
    assert not gone, f"these close no circle any more, delete them from KNOWN_CIRCLES: {', '.join(gone)}"


def test_a_circle_is_told_in_its_order():
    found = circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    assert found in (["b", "c", "b"], ["c", "b", "c"])
    four = circle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"a"}})
    assert "-".join(four[:-1]) in "a-b-c-d-a-b-c-d" and four[0] == four[-1]


def test_imports_within_functions_count_and_those_for_types_do_not():
    text = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from plumbline.metrics.mmd import MMDSpec
else:
    import plumbline.storage.store
def build():
    from plumbline import spec
    from plumbline.samplers import heun, SamplerSpec
"""
    assert imported_modules(ast.parse(text)) == {"storage.store", "spec", "samplers.heun", "samplers"}


ROOMS_OF_FILES = ("samplers", "metrics", "attributes", "datasets")
NOT_KINDS = {
    "attributes.fields",
    "attributes.forms",
    "attributes.images",
}
"""Public modules that are not a kind of their own name yet: several kinds in one file, or helpers."""


def misnamed() -> dict[str, list[str]]:
    """The kinds of each public module of these packages that is not exactly one kind of the module's name."""
    found = {}
    for room_name in ROOMS_OF_FILES:
        package = importlib.import_module(f"plumbline.{room_name}")
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                found[f"{room_name}.{module.name}"] = own_kinds(package, module.name)
    return {name: own for name, own in found.items() if own != [name.split(".")[1]]}


def own_kinds(package, name: str) -> list[str]:
    module = importlib.import_module(f"{package.__name__}.{name}")
    specs = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, Kind)]
    own = [c for c in specs if c.__module__ == module.__name__]
    return sorted(kind for c in own for kind in get_args(c.model_fields["kind"].annotation))


def test_a_public_module_is_a_kind_of_its_name():
    new = {name: own for name, own in misnamed().items() if name not in NOT_KINDS}
    assert not new, (
        "a public module must define one kind, with the module's name; a helper's name must begin with an "
        f"underscore: {new}"
    )


def test_known_modules_that_are_no_kinds_are_still_there():
    gone = sorted(NOT_KINDS - set(misnamed()))
    assert not gone, f"these keep the rule now, delete them from NOT_KINDS: {', '.join(gone)}"

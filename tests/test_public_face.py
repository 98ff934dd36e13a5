"""The imports of a notebook: public names of the packages, without loading torch, and runnable examples."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

import plumbline
from plumbline.storage.store import write_store

ROOMS = (
    "attributes", "constraints", "datasets", "distributions", "linalg", "metrics", "networks",
    "observations", "samplers", "solvers",
)  # fmt: skip
ROOT = Path(plumbline.__file__).parent


def with_examples() -> list[str]:
    return sorted(
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for path in ROOT.rglob("*.py")
        if ">>> " in path.read_text()
    )


@pytest.mark.parametrize("module", with_examples())
def test_examples_in_docstrings_run(module):
    failures, tried = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert tried
    assert not failures


@pytest.mark.parametrize("room", ROOMS)
def test_every_exported_name_is_there(room):
    module = importlib.import_module(f"plumbline.{room}")
    names = module.__getattr__.__closure__
    exported = next(cell.cell_contents for cell in names if isinstance(cell.cell_contents, dict))
    for name in exported:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018
    kinds = {m.name for m in pkgutil.iter_modules(module.__path__) if not m.name.startswith("_")}
    assert kinds or room in ("linalg",)


def test_rooms_load_no_torch():
    imports = "; ".join(f"import plumbline.{room}" for room in ROOMS)
    loaded = "[m for m in ('torch', 'xarray', 'azula') if m in sys.modules]"
    code = f"import sys; import plumbline; {imports}; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_results_that_are_not_there_are_named(tmp_path):
    write_store(xr.Dataset({"number": 3}), tmp_path / "burgers" / "comparison.zarr")
    assert int(plumbline.open_results(tmp_path / "burgers").comparison["number"]) == 3
    with pytest.raises(
        FileNotFoundError, match="has the comparisons of burgers: run the workflow for 'gaussian'"
    ):
        plumbline.open_results(tmp_path / "gaussian")

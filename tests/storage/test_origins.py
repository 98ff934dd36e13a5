"""Which version of the library made a store, and the warning where several did."""

import json
import subprocess

import numpy as np
import pytest
import xarray as xr

from plumbline.stages.compare import _made
from plumbline.storage.origins import as_attribute, commit_of, origin_of, origin_warnings
from plumbline.storage.store import write_store


@pytest.fixture
def library(tmp_path):
    """A folder `library` with one module, in its own repository."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "code.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    return tmp_path / "library"


def git(folder, *arguments):
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "a change")


def test_changes_of_the_library_tell_states_apart_and_those_beside_it_do_not(library):
    first = commit_of(library)
    assert len(first) == 40
    (library.parent / "study.yaml").write_text("title: A study\n")
    assert commit_of(library) == first
    commit(library.parent)
    assert commit_of(library) == first
    (library / "code.py").write_text("a = 2\n")
    second = commit_of(library)
    (library / "code.py").write_text("a = 3\n")
    third = commit_of(library)
    (library / "new.py").write_text("")
    fourth = commit_of(library)
    assert len({first, second, third, fourth}) == 4
    assert all(state.startswith(f"{first}+changes-") for state in (second, third, fourth))
    commit(library.parent)
    assert len(commit_of(library)) == 40 and commit_of(library) != first


def test_no_repository_gives_no_commit(tmp_path):
    assert commit_of(tmp_path) == "unknown"


def test_what_each_state_made_is_said():
    old = origin_of({"plumbline_version": "0.1.0", "plumbline_commit": "a" * 40})
    new = origin_of({"plumbline_version": "0.1.0", "plumbline_commit": "b" * 40 + "+changes-0123456789"})
    assert origin_warnings({"origins": as_attribute([("the dataset", old), ("metrics of real", old)])}) == []
    (warning,) = origin_warnings(
        {"origins": as_attribute([("the dataset", old), ("model fit", new), ("model fit", new)])}
    )
    assert "0.1.0, commit aaaaaaaaaa made the dataset; " in warning
    assert "0.1.0, commit bbbbbbbbbb+changes-0123456789 made model fit." in warning
    many = as_attribute([*((f"samples of g{i}", old) for i in range(9)), ("the comparison", new)])
    assert "samples of g4, 4 more; " in origin_warnings({"origins": many})[0]


def test_every_store_of_a_comparison_counts(tmp_path):
    """This includes samples of other seeds and parts, whose origins the stores of metrics record."""

    def stored(name, version, **attrs):
        data = xr.Dataset({"state": (("sample", "x"), np.zeros((2, 2)))}, attrs=attrs)
        write_store(data, tmp_path / name, {"plumbline_version": version, "plumbline_commit": "c" * 40})
        return tmp_path / name

    (tmp_path / "model.json").write_text(
        json.dumps({"spec": {}, "parameters": 1, "plumbline_version": "2", "plumbline_commit": "unknown"})
    )
    made = _made(
        [stored("part.zarr", "1")],
        {"free": stored("samples.zarr", "3")},
        {"fit": [tmp_path]},
        {"free": [stored("metrics.zarr", "4", samples_origins=json.dumps(["3, commit x", "5, commit y"]))]},
    )
    assert list(made) == [
        ("the dataset", "1, commit cccccccccc"),
        ("model fit", "2, commit unknown"),
        ("samples of free", "3, commit cccccccccc"),
        ("samples of free", "3, commit x"),
        ("samples of free", "5, commit y"),
        ("metrics of free", "4, commit cccccccccc"),
    ]

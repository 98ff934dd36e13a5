"""Kinds found in the modules of a room."""

import importlib
import sys

import pytest

from plumbline.spec import KindCollisionError, kinds

ROOM = """
from plumbline.spec import Kind

class ShapeSpec(Kind):
    pass
"""
MODULE = """
from typing import Literal
from {room} import ShapeSpec

class {name}(ShapeSpec):
    kind: Literal["{kind}"] = "{kind}"
"""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A room of three modules, the last of which may take the kind of another."""
    names = []

    def made(name: str, **modules: str):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(ROOM)
        for module, kind in modules.items():
            text = MODULE.format(room=name, name=f"{module.title()}Spec", kind=kind)
            (folder / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        names.append(name)
        return importlib.import_module(name).ShapeSpec, folder

    yield made
    for module in [m for m in sys.modules if m.split(".")[0] in names]:
        del sys.modules[module]


def test_kinds_are_found_by_name(room):
    base, _ = room("shapes_of_two_kinds", disc="disc", square="square")
    assert list(kinds(base)) == ["disc", "square"]
    assert kinds(base)["disc"].__name__ == "DiscSpec"


def test_two_kinds_of_one_name_are_refused_with_both_files(room):
    base, folder = room("shapes_of_one_kind", disc="disc", square="square", ball="disc")
    with pytest.raises(KindCollisionError, match="two kinds are called 'disc'") as error:
        kinds(base)
    assert str(folder / "disc.py") in str(error.value) and str(folder / "ball.py") in str(error.value)
    assert "\n" not in str(error.value)

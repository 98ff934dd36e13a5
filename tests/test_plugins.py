"""Plug-ins and functions of a user: what they add, which slices they change, how faults are reported."""

import textwrap

import pytest

from plumbline.plan import Plan
from plumbline.spec import kinds, load_plugin
from plumbline.study import StudyError, load_study
from plumbline.user_code import CodeUnit, UserCodeError, UserFunction

CONSTRAINT = '''
from __future__ import annotations

from typing import Literal

from plumbline.constraints import Constraint, ConstraintSpec
from sizes import SIZE


class Disc(Constraint):
    def residual(self, x):
        return (x.flatten(1).norm(dim=1, keepdim=True) - SIZE).clamp(min=0)

    def project(self, x):
        return x * (SIZE / x.flatten(1).norm(dim=1).clamp(min=SIZE)).view(-1, 1)


class DiscSpec(ConstraintSpec):
    """Points of a disc."""

    kind: Literal["own_disc"] = "own_disc"

    def build(self, example):
        return Disc()

    def provides(self):
        from plumbline.constraints import ProjectableConstraint

        return (ProjectableConstraint,)
'''
METRIC = """
from typing import Literal

import xarray as xr

from plumbline.metrics import MetricSpec, scalar


class LargestSpec(MetricSpec):
    kind: Literal["own_largest"] = "own_largest"

    def evaluate(self, samples, dataset, by):
        return xr.Dataset({"own_largest": scalar(float(samples["state"].max()), "largest value", "neither")})
"""
STUDY = """
extends: gaussian
title: A disc
description: A constraint and a metric of one's own.
plugins: [disc.py, largest.py]
constraints:
  disc: {kind: own_disc}
methods:
  in_disc: {model: gaussian,
      sampler: {kind: final_projection, constraint: disc, base: {kind: heun, steps: 4}}}
metrics:
  largest: {kind: own_largest}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a study and its plug-ins, which is the current one."""
    monkeypatch.chdir(tmp_path)
    files = {"disc.py": CONSTRAINT, "largest.py": METRIC, "sizes.py": "SIZE = 2.0\n", "own.yaml": STUDY}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def slices(project):
    plan = Plan(load_study(project / "own.yaml", "smoke"))
    methods = {name: plan.sample_slice(name) for name in plan.study.methods}
    return methods, plan.evaluate_slice(), plan.train_slice("gaussian"), plan.generate_slice()


def test_only_the_slices_that_use_a_plugin_change_with_it(project):
    methods, evaluation, training, data = slices(project)
    assert [name for name, text in methods.items() if "disc.py@" in text] == ["in_disc"]
    assert "disc.py@" in evaluation and "largest.py@" in evaluation and "@" not in training + data

    (project / "largest.py").write_text(METRIC.replace("max()", "max() + 1.0"))
    after, evaluation_after, *others = slices(project)
    assert after == methods and evaluation_after != evaluation and others == [training, data]

    (project / "sizes.py").write_text("SIZE = 3.0\n")
    changed, *_ = slices(project)
    assert {name for name in methods if changed[name] != methods[name]} == {"in_disc"}


def test_a_changed_plugin_replaces_its_kinds(project):
    load_study(project / "own.yaml", "smoke")
    before = kinds(_constraint_base())["own_disc"]
    (project / "disc.py").write_text(CONSTRAINT.replace('"""Points of a disc."""', '"""Another text."""'))
    load_study(project / "own.yaml", "smoke")
    after = kinds(_constraint_base())["own_disc"]
    assert after is not before and after.__doc__ == "Another text."


def test_a_job_refuses_files_that_changed_since_it_was_planned(project):
    methods, *_ = slices(project)
    (project / "sizes.py").write_text("SIZE = 5.0\n")
    recorded = methods["in_disc"].split('"plugin":"')[1].split('"')[0]
    with pytest.raises(UserCodeError, match=r"disc\.py, or a module .* changed since this job was planned"):
        CodeUnit.of(recorded).load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:\n", r"disc\.py, line 1: invalid syntax"),
        (
            "import nothing_of_this_name\n",
            r"disc\.py, line 1: ModuleNotFoundError: No module named 'nothing_of",
        ),
        ("\n\nSIZE = 1 / 0\n", r"disc\.py, line 3: ZeroDivisionError"),
        ("SIZE = 1\n", r"disc\.py defines no kind: a kind is a subclass"),
        (
            CONSTRAINT.replace("own_disc", "sum"),
            r"two kinds are called 'sum': .*sum\.py, line \d+ and .*disc\.py, line \d+",
        ),
    ],
)
def test_a_broken_plugin_is_named_with_file_and_line(project, text, message):
    (project / "disc.py").write_text(text)
    with pytest.raises(StudyError, match=rf"plugins\[0\]: (?s:.*){message}"):
        load_study(project / "own.yaml", "smoke")
    # What failed leaves nothing behind: once it is mended, the study loads.
    (project / "disc.py").write_text(CONSTRAINT)
    assert "in_disc" in load_study(project / "own.yaml", "smoke").methods


def test_a_missing_plugin_names_where_it_was_looked_for(project):
    (project / "disc.py").unlink()
    with pytest.raises(StudyError, match=r"plugins\[0\]: there is no file .*disc\.py"):
        load_study(project / "own.yaml", "smoke")


def test_packages_register_kinds_by_entry_points(project, monkeypatch):
    package = project / "site"
    (package / "own_kinds-1.5.dist-info").mkdir(parents=True)
    (package / "own_kinds.py").write_text(METRIC.replace("own_largest", "packaged"))
    (package / "own_kinds-1.5.dist-info" / "METADATA").write_text("Name: own-kinds\nVersion: 1.5\n")
    (package / "own_kinds-1.5.dist-info" / "entry_points.txt").write_text(
        "[plumbline.kinds]\nown = own_kinds\n"
    )
    monkeypatch.syspath_prepend(package)
    from plumbline import spec
    from plumbline.metrics import MetricSpec

    spec._entry_points.cache_clear()
    kinds.cache_clear()
    found = kinds(MetricSpec)["packaged"]
    assert found().model_dump(mode="json") == {"kind": "packaged", "plugin": "own-kinds==1.5"}
    assert load_plugin("own-kinds==1.5") == "own-kinds==1.5"
    with pytest.raises(UserCodeError, match=r"own-kinds==1\.4 is used, and own-kinds==1\.5 is installed"):
        load_plugin("own-kinds==1.4")


def test_a_function_is_looked_up_without_an_import(project):
    (project / "physics.py").write_text("import nothing_of_this_name\n\ndef residual(x):\n    return x\n")
    function = UserFunction.of("physics.py:residual")
    assert UserFunction.of(str(function)) == function
    with pytest.raises(
        UserCodeError, match="does not define 'missing' at its top level; it defines residual"
    ):
        UserFunction.of("physics.py:missing")
    with pytest.raises(UserCodeError, match=r"physics\.py, line 1: ModuleNotFoundError"):
        function.load()


@pytest.mark.parametrize("text", ["physics.py", ":residual", "physics.py:not a name", 3])
def test_what_is_not_a_function_is_refused(project, text):
    with pytest.raises(UserCodeError, match=r"expected a function as `file.py:name`"):
        UserFunction.of(text)


def test_the_unit_has_packages_and_relative_imports(project):
    """`main` imports a module of a package, which imports another one and, in a function, a file."""
    (project / "parts").mkdir()
    for name, text in {
        "main.py": "from parts import one\n",
        "parts/__init__.py": "",
        "parts/one.py": textwrap.dedent("""
            from . import two

            def late():
                import lazily
        """),
        "parts/two.py": "",
        "lazily.py": "import os\n",
        "unused.py": "",
    }.items():
        (project / name).write_text(text)
    files = {str(file.relative_to(project)) for file in CodeUnit.of("main.py").files()}
    assert files == {"main.py", "parts/__init__.py", "parts/one.py", "parts/two.py", "lazily.py"}


def _constraint_base():
    from plumbline.constraints import ConstraintSpec

    return ConstraintSpec

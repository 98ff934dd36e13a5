"""Kinds: how they are found, and whether what they build satisfies the Protocols that they provide."""

import importlib
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from typing_extensions import get_protocol_members, is_protocol

from plumbline import attributes, constraints, distributions, training
from plumbline._capabilities import is_provided, lacking, listed, phrase
from plumbline.datasets._download import DataFileError
from plumbline.models import (
    CAPABILITIES,
    BuildContext,
    Counting,
    Denoising,
    ModelSpec,
    Predictive,
    _protocols,
)
from plumbline.plan import Plan
from plumbline.samplers import _models
from plumbline.spec import KindCollisionError, kinds
from plumbline.stages.trained import build_constraints, build_model
from plumbline.study import load_study

STUDIES = sorted((Path(__file__).parents[1] / "config" / "studies").rglob("*.yaml"))

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
    """A package of three modules, the last of which may reuse the kind of another."""
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


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_what_a_study_builds_satisfies_its_protocols(path, data_of_study):
    """Models, constraints, samplers and metrics of every bundled study, untrained and on two samples."""
    data_of_study(path.stem)
    study = load_study(path, "smoke")
    try:
        example = study.dataset.draw(np.arange(2), study.dataset.splits.names()[:2])
    except DataFileError as error:
        pytest.skip(f"NOT RUN, no data: {error}")
    plan = Plan(study)
    built = {
        name: build_model(json.loads(plan.train_slice(name)), example.isel(sample=slice(0, 1)), {})
        for name in study.models
    }
    for name, spec in study.models.items():
        assert_provided(built[name], spec.provides())
        assert_required(spec.depends_on(), built, study.models)
    for name, spec in study.constraints.items():
        values = {name: spec.model_dump(mode="json")}
        bound = build_constraints(values, example.isel(sample=slice(0, 1)), built)[name]
        assert_provided(bound, spec.provides())
        assert_required(spec.depends_on(), built, study.models)
    for method in study.methods.values():
        needed = dict.fromkeys(method.models(), method.sampler.requires_of_model())
        assert_required(needed, built, study.models)
    for metric in study.metrics.values():
        assert_required(metric.depends_on(), built, study.models)


def assert_provided(built: object, provided: tuple[type, ...]):
    """The object satisfies each Protocol, and a Protocol of the library is what stands there."""
    for capability in provided:
        assert not lacking(built, capability), f"{type(built).__name__} is no {capability.__name__}"
        if sys.version_info < (3, 12):  # later versions do not see the submodules of a module
            assert isinstance(built, capability)


def assert_required(needed: dict[str, type], built: dict[str, object], specs: dict[str, ModelSpec]):
    for name, capability in needed.items():
        assert_provided(built[name], (capability,))
        assert is_provided(capability, specs[name].provides())


class CountsNothing(ModelSpec):
    """A kind that says too much of its model."""

    def build(self, on):
        return torch.nn.Linear(1, 1)

    def provides(self):
        return (Counting,)


def test_a_model_that_is_not_what_its_spec_says_is_found():
    spec = CountsNothing(kind="counts_nothing")
    built = spec.build(BuildContext(xr.Dataset()))
    with pytest.raises(AssertionError, match="Linear is no Counting"):
        assert_provided(built, spec.provides())
    assert lacking(built, Counting) == ["count"]
    with pytest.raises(
        TypeError, match=r"'c' must be `Counting` \(a model that counts .*\), and Linear has no count"
    ):
        BuildContext(xr.Dataset(), models={"c": built}).model("c", Counting)


def test_each_protocol_of_models_is_provided_by_one_of_the_studies():
    """So that the test above misses none of them."""
    studies = [load_study(path, "smoke") for path in STUDIES]
    provided = [spec.provides() for study in studies for spec in study.models.values()]
    missing = [one for one in CAPABILITIES if not any(is_provided(one, several) for several in provided)]
    assert not missing


PROTOCOLS = sorted(
    {
        one
        for module in (distributions, attributes, constraints, _models, _protocols, training)
        for one in vars(module).values()
        if isinstance(one, type) and is_protocol(one)
    },
    key=lambda one: one.__name__,
)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda p: p.__name__)
def test_a_protocol_says_what_it_is_and_what_its_members_are(protocol):
    assert inspect.getdoc(protocol)
    if protocol in CAPABILITIES:
        assert phrase(protocol).startswith(f"`{protocol.__name__}` (a model ")
    for name in get_protocol_members(protocol):
        member = inspect.getattr_static(protocol, name)
        function = member.fget if isinstance(member, property) else member
        assert inspect.getdoc(function), f"{name} has no docstring"
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        hints = [p.annotation for p in signature.parameters.values() if p.name != "self"]
        assert all(hint is not inspect.Parameter.empty and "Any" not in str(hint) for hint in hints), name


def test_a_protocol_that_extends_another_provides_it_too():
    assert is_provided(constraints.ProjectableConstraint, (constraints.MatrixConstraint,))
    assert not is_provided(constraints.MatrixConstraint, (constraints.LinearEqualityConstraint,))
    assert not is_provided(Denoising, ("denoiser",)) and listed(("denoiser",)) == "`'denoiser'`"
    assert listed((Denoising, Predictive)) == "`Denoising` and `Predictive`" and listed(()) == "no Protocol"


def test_a_submodule_is_a_member():
    class Held(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.denoiser = torch.nn.Linear(1, 1)

    assert lacking(Held(), Denoising) == ["conditions", "space_of"]

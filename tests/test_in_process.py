"""A study run from Python: its results, what a second run repeats, and further samples of a method."""

import logging

import numpy as np
import pytest

import plumbline
from plumbline.constraints import LinearEqualitySpec
from plumbline.datasets import GaussianSpec
from plumbline.metrics import ConstraintDistanceSpec
from plumbline.models import ModelSpec
from plumbline.models.fitted.fitted_gaussian import FittedGaussianSpec
from plumbline.plan import Plan
from plumbline.samplers import HeunSpec
from plumbline.spec import of_kind
from plumbline.study import Study, load_study
from plumbline.workflow_files import library_studies


@pytest.fixture(scope="module")
def study():
    study = load_study(library_studies() / "gaussian.yaml", "smoke")
    kept = ("unconstrained", "conditioned")
    return study.model_copy(update={"methods": {name: study.methods[name] for name in kept}})


@pytest.fixture(scope="module")
def results(study, tmp_path_factory):
    return plumbline.run(study, results=tmp_path_factory.mktemp("run") / "results")


def test_all_that_a_run_left_is_read(results, study):
    assert results.config == study
    assert results.dataset.sizes["sample"] == study.dataset.splits.total
    assert results.samples("conditioned").sizes["sample"] == 64
    assert {p.dtype.is_floating_point for p in results.model("gaussian").state_dict().values()} == {True}
    table = results.table(["sliced_wasserstein", "distance_equalities"])
    assert list(table.index) == ["real", "unconstrained", "conditioned"]
    assert (
        table.loc["conditioned", "distance_equalities"]
        < 1e-6
        < table.loc["unconstrained", "distance_equalities"]
    )


def test_drawing_again_with_the_seed_of_the_run_gives_its_samples(results):
    """The run seeds torch by the seed of the method and the part, which are zero."""
    again = results.draw("conditioned", 64, torch_seed=0)
    np.testing.assert_array_equal(again["state"].values, results.samples("conditioned")["state"].values)
    other = results.draw("conditioned", 5, torch_seed=1)
    assert other.sizes["sample"] == 5 and not np.array_equal(other["state"].values, again["state"].values[:5])


def test_what_is_not_there_is_named(results):
    with pytest.raises(
        ValueError, match="there is no method 'guided'; available: conditioned, unconstrained"
    ):
        results.samples("guided")
    with pytest.raises(ValueError, match="there is no seed 3; available: 0"):
        results.samples("conditioned", seed=3)
    with pytest.raises(ValueError, match="there is no model 'free'; available: gaussian"):
        results.model("free")
    with pytest.raises(
        ValueError, match="`count` must be between 1 and 64, the number of test samples, found 65"
    ):
        results.draw("conditioned", 65)
    with pytest.raises(ValueError, match="there is no metric nothing"):
        results.table(["nothing"])


def test_a_study_is_built_from_objects(tmp_path, capsys, monkeypatch):
    """The same samples as by the library's YAML, without a file."""
    monkeypatch.setattr(logging.getLogger("plumbline"), "handlers", [])
    yaml = load_study(library_studies() / "gaussian.yaml", "smoke")
    steps = yaml.methods["unconstrained"].sampler.steps
    study = Study(
        name="mine",
        title="Mine",
        description="Is a study of objects that of YAML?",
        dataset=GaussianSpec(parts=1, splits={"train": 256, "validation": 64, "test": 64}),
        constraints={"equalities": LinearEqualitySpec(matrix="matrix", target="target")},
        models={"gaussian": FittedGaussianSpec()},
        methods={
            "free": {
                "model": "gaussian",
                "sampler": HeunSpec(steps=steps),
            }
        },
        metrics={"distance": ConstraintDistanceSpec()},
        samples={"count": 64},
        seeds=(0,),
    )
    assert study.dataset == yaml.dataset
    drawn = plumbline.run(study, results=tmp_path / "results").samples("free")
    same = yaml.model_copy(update={"methods": {"free": yaml.methods["unconstrained"]}})
    expected = plumbline.run(same, results=tmp_path / "others", progress=False).samples("free")
    np.testing.assert_array_equal(drawn["state"].values, expected["state"].values)
    said = capsys.readouterr().err
    assert "step 1 of 6: data, part 0" in said and said.rstrip().endswith("mine is complete")


def steps_of(caplog, study, results):
    caplog.clear()
    with caplog.at_level(logging.INFO, "plumbline.run"):
        plumbline.run(study, results=results.folder.parent)
    return [
        record.getMessage().partition(": ")[2] for record in caplog.records if record.name == "plumbline.run"
    ]


def test_a_second_run_repeats_what_depends_on_a_change(results, study, caplog):
    assert steps_of(caplog, study, results) == []
    metrics = {name: study.metrics[name] for name in ("constraint_distance", "sliced_wasserstein")}
    fewer = study.model_copy(update={"metrics": metrics})
    judged = ["metrics of real, seed 0", "metrics of unconstrained, seed 0", "metrics of conditioned, seed 0"]
    assert steps_of(caplog, fewer, results) == [*judged, "comparison"]
    scaled = of_kind(ModelSpec, study.models["gaussian"].model_dump() | {"scaling": "per_feature"})
    changed = fewer.model_copy(update={"models": {"gaussian": scaled}})
    drawn = [f"samples of {name}, seed 0, part 0" for name in study.methods]
    training = "training of gaussian, seed 0"
    assert steps_of(caplog, changed, results) == [training, *drawn, *judged[1:], "comparison"]
    # The former model is still there; the samples that were drawn from it are not.
    assert steps_of(caplog, fewer, results) == [*drawn, *judged[1:], "comparison"]
    assert steps_of(caplog, study, results) == [*judged, "comparison"]


def test_a_training_that_was_cut_short_is_repeated(results, study, caplog):
    """The card of a model is written before its checkpoints are put in place."""
    steps_of(caplog, study, results)
    folder = Plan(study, results.folder.parent).model_folder("gaussian", 0) / "checkpoints"
    folder.rename(folder.with_name("gone"))
    assert "training of gaussian, seed 0" in steps_of(caplog, study, results)
    assert folder.is_dir()

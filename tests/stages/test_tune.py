"""Tuning: the candidates of a sweep, the choice on the validation split alone, and samples drawn with it."""

import json
import logging
import re
from collections import Counter

import numpy as np
import pytest
import xarray as xr
import yaml

from plumbline.estimates import StudyEstimate
from plumbline.estimation import estimate_study
from plumbline.in_process import run
from plumbline.machine import ResourcesSpec
from plumbline.method import MethodSpec
from plumbline.plan import Plan
from plumbline.reporting.page import section
from plumbline.reporting.tuned import tuned_as_markdown, tuned_methods
from plumbline.resources import Requests, jobs_of
from plumbline.samplers import GuidedSpec
from plumbline.stages.rehearse import Rehearsal
from plumbline.stages.tune import column_of, on_validation, tune
from plumbline.storage.store import load_parts, load_store, provenance, write_store
from plumbline.study import StudyError, load_study
from plumbline.tuning import TuningError, TuningSpec, best_of, candidates, read_tuning, shown, with_values

STUDY = {
    "title": "Tuned",
    "description": "A method with a sweep beside others.",
    "dataset": {"kind": "gaussian", "parts": 1, "splits": {"train": 256, "validation": 64, "test": 64}},
    "constraints": {"equalities": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}},
    "models": {"gaussian": {"kind": "fitted_gaussian"}},
    "methods": {
        "plain": {"model": "gaussian", "sampler": {"kind": "heun", "steps": 4}},
        "conditioned": {
            "model": "gaussian",
            "sampler": {
                "kind": "conditioned", "constraint": "equalities", "base": {"kind": "heun", "steps": 8}
            },
            "sweep": {"sampler.base.steps": [2, 24]},
        },
    },
    "metrics": {
        "conditional_gaussian": {"kind": "conditional_gaussian"},
        "sliced_wasserstein": {"kind": "sliced_wasserstein"},
        "distance": {"kind": "constraint_distance"},
    },
    "samples": {"count": 64},
    "tuning": {"metric": "conditional_gaussian", "budget": 4, "samples": 32},
    "seeds": [0, 1],
}  # fmt: skip


def studied(folder, edit=lambda values: None):
    values = json.loads(json.dumps(STUDY))
    edit(values)
    path = folder / "tuned.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_study(path, "smoke")


def setting(path, value):
    def edit(values):
        *above, last = path.split("/")
        for name in above:
            values = values[name]
        values[last] = value

    return edit


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    study = studied(folder)
    run(study, results=folder / "results", progress=False)
    return Plan(study, folder / "results")


# Candidates


def test_a_grid_has_every_combination_in_an_order_of_its_own():
    sweep = {"sampler.b": (1, 2), "sampler.a": ("x", "y", None)}
    found = candidates(sweep, 6, seed=0)
    assert found == [{"sampler.a": a, "sampler.b": b} for a in ("x", "y", None) for b in (1, 2)]
    assert found == candidates(dict(reversed(sweep.items())), 99, seed=1)


def test_a_larger_grid_is_drawn_from_by_the_seed():
    """Each point of the grid is drawn about equally often: within five standard deviations of 4 in 100."""
    sweep = {f"sampler.{name}": tuple(range(10)) for name in "ab"}
    found = candidates(sweep, 4, seed=3)
    assert found == candidates(sweep, 4, seed=3) != candidates(sweep, 4, seed=4)
    points = [tuple(one.values()) for one in found]
    assert len(set(points)) == 4 and points == sorted(points)
    drawn = Counter(tuple(one.values()) for seed in range(2000) for one in candidates(sweep, 4, seed))
    assert len(drawn) == 100
    assert max(abs(count - 80) for count in drawn.values()) < 5 * np.sqrt(2000 * 0.04 * 0.96)


def test_an_astronomic_grid_is_not_listed():
    sweep = {f"sampler.{name}": tuple(range(50)) for name in "abcdefghij"}
    assert len(candidates(sweep, 3, seed=0)) == 3


def test_the_best_is_by_the_direction_of_the_metric():
    assert best_of([3.0, 1.0, None, 1.0], "lower") == 1
    assert best_of([3.0, 1.0, None, 3.0], "higher") == 0
    with pytest.raises(TuningError, match="no candidate has a value"):
        best_of([None, None], "lower")


def test_values_are_set_within_wrapped_samplers():
    sampler = GuidedSpec(constraint="c", strength=0.5, base={"kind": "heun", "steps": 8})
    found = with_values(sampler, {"sampler.base.steps": 3, "sampler.strength": 1.5})
    assert (found.base.steps, found.strength, found.constraint) == (3, 1.5, "c")
    replaced = with_values(sampler, {"sampler.base": {"kind": "ddim", "steps": 5}})
    assert replaced.base.kind == "ddim" and sampler.base.steps == 8
    with pytest.raises(ValueError, match=r"base.stpes: there is no key 'stpes' \(did you mean 'steps'"):
        with_values(sampler, {"sampler.base.stpes": 3})
    with pytest.raises(ValueError, match="strength: must be at most"):
        with_values(sampler, {"sampler.strength": 100})


def test_keys_can_be_changed_together():
    sampler = GuidedSpec(constraint="c", strength=0.5, base={"kind": "heun", "steps": 8})
    sweep = {"sampler": ({"strength": 1.0, "base.steps": 4}, {"strength": 0.25, "base.steps": 16})}
    found = [with_values(sampler, one) for one in candidates(sweep, 9, seed=0)]
    assert [(one.strength, one.base.steps) for one in found] == [(1.0, 4), (0.25, 16)]
    assert shown({"sampler": {"strength": 1.0, "base.steps": 4}}) == "strength = 1.0, base.steps = 4"


def test_models_can_be_tried():
    """All candidates are trained, and the chosen one is drawn from."""
    sampler = {"kind": "heun", "steps": 4}
    swept = MethodSpec(model="a", sampler=sampler, sweep={"model": ["b", "a"], "sampler.steps": [2, 3]})
    assert swept.models() == ("a", "b") and swept.alone().models() == ("a",)
    found = [swept.chosen(values) for values in candidates(swept.sweep, 9, seed=0)]
    assert [(one.models(), one.sampler.steps) for one in found] == [
        (("b",), 2), (("b",), 3), (("a",), 2), (("a",), 3)
    ]  # fmt: skip
    ensembles = MethodSpec(model=("a", "b"), sampler=sampler, sweep={"model": [["a", "b"], ["c", "a"]]})
    assert ensembles.models() == ("a", "b", "c")
    assert ensembles.chosen({"model": ["c", "a"]}).models() == ("c", "a")


# The study's check


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (setting("methods/conditioned/sweep", {"sampler.base.step": [1]}),
         r"methods.conditioned: sweep.sampler.base.step: there is no key 'step' \(did you mean 'steps'\?\)"),
        (setting("methods/conditioned/sweep", {"sampler": [{"base.steps": 2}, {"base.step": 1}]}),
         r"sweep.sampler.base.step: there is no key 'step' \(did you mean 'steps'\?\)"),
        (setting("methods/conditioned/sweep", {"sampler": [8]}),
         "sweep.sampler: expected mappings of keys that are changed together, .* found 8"),
        (setting("methods/conditioned/sweep", {"sampler": [{"base.steps": 2}], "sampler.base.steps": [4]}),
         "sweep.sampler.base.steps: has a value of its own and another in `sampler`"),
        (setting("methods/conditioned/sweep", {"sampler.base.steps": []}), "expected at least 1, found 0"),
        (setting("methods/conditioned/sweep", {"sampler.base.steps": [2, 2]}), "names a value twice"),
        (setting("methods/conditioned/sweep", {"sampler.base.steps": [8, -1]}),
         "methods.conditioned.sweep, with base.steps = -1: base.steps: must be at least 1, found -1"),
        (setting("methods/conditioned/sweep", {"model.scaling": ["global"]}),
         "a sweep cannot change keys of a model, since each of its values would be a model to train: write"),
        (setting("methods/conditioned/sweep", {"model": ["gaussian", "other"]}),
         r"sweep, with model = other: methods.conditioned.model: there is no model 'other'"),
        (setting("methods/conditioned/sweep", {"model": ["other"]}),
         'sweep.model: expected names of models, of which one is the method\'s `model`, "gaussian"; found'),
        (setting("methods/conditioned/sweep", {"model": ["gaussian", 3]}),
         "sweep.model: expected names of models, found 3"),
        (setting("methods/conditioned/sweep", {"batch": [1]}), "expected the path of a key of the sampler"),
        (setting("methods/conditioned/sweep", {"sampler.constraint": ["equalities", "other"]}),
         "with constraint = other: a sweep cannot change which constraints are imposed"),
        (setting("methods/conditioned/sweep", {"sampler.base": [{"kind": "predictive"}]}),
         "with base = .*: methods.conditioned.sampler.*`predictive` does not"),
        (setting("methods/plain", {"samples": "a{seed}.npz", "sweep": {"sampler.path": ["b", "c"]}}),
         "sweep: samples of another program cannot be tuned here"),
        (setting("tuning", None), "methods.conditioned.sweep: requires `tuning`"),
        (setting("tuning/metric", "conditional"),
         r"tuning.metric: there is no metric 'conditional' \(did you mean 'conditional_gaussian'\?\)"),
        (setting("tuning/samples", 65), "at most that many times the 64 samples of the validation split"),
        (setting("tuning/budget", 0), "tuning.budget: must be at least 1, found 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_named(tmp_path, edit, words):
    with pytest.raises(StudyError) as refused:
        studied(tmp_path, edit)
    assert re.search(words, str(refused.value)), str(refused.value)


# Slices


def slices(study):
    plan = Plan(study)
    judged = {f"sample {name}": plan.sample_slice(name) for name in study.methods}
    tuned = {f"tune {name}": plan.tune_slice(name) for name in plan.swept()}
    return {**judged, **tuned, "evaluate": plan.evaluate_slice(), "train": plan.train_slice("gaussian")}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (setting("methods/conditioned/sweep", {"sampler.base.steps": [2, 25]}), {"tune conditioned"}),
        (setting("tuning/budget", 5), {"tune conditioned"}),
        (setting("tuning/metric", "sliced_wasserstein"), {"tune conditioned"}),
        (setting("methods/plain/sampler/steps", 5), {"sample plain"}),
        (setting("methods/conditioned/batch", 16), {"tune conditioned", "sample conditioned"}),
        (setting("metrics/sliced_wasserstein/directions", 17), {"evaluate"}),
        (setting("metrics/more", {"kind": "mmd"}), {"evaluate"}),
    ],
)
def test_a_key_changes_the_slices_that_depend_on_it(tmp_path, edit, expected):
    before, after = slices(studied(tmp_path)), slices(studied(tmp_path, edit))
    assert {name for name in before if before[name] != after[name]} == expected


def test_sampling_without_a_sweep_knows_nothing_of_tuning(tmp_path):
    def untuned(values):
        values.pop("tuning")
        values["methods"]["conditioned"].pop("sweep")

    with_sweep, without = Plan(studied(tmp_path)), Plan(studied(tmp_path, untuned))
    assert "sweep" not in json.loads(without.sample_slice("plain"))["method"]
    assert with_sweep.sample_slice("plain") == without.sample_slice("plain")
    assert with_sweep.tuned_by("plain") == without.tuned_by("conditioned") == []
    assert with_sweep.tuned_by("conditioned") == [with_sweep.tuning("conditioned")]


# The job


def tuned_again(plan, dataset, output):
    tune(
        plan.tune_slice("conditioned"),
        seed=0,
        dataset=dataset,
        model=[plan.model_folder("gaussian", 0)],
        output=output,
    )
    return read_tuning(output)


def test_more_steps_are_chosen_where_they_are_nearer_to_the_exact_distribution(plan):
    """The discretisation error of two steps is ten times the sampling noise of 32 samples."""
    record = read_tuning(plan.tuning("conditioned"))
    assert [one.values for one in record.candidates] == [{"sampler.base.steps": n} for n in (2, 24)]
    assert record.candidates[0].value > 2 * record.candidates[1].value > 0
    assert record.best.values == {"sampler.base.steps": 24}
    assert [one.network_evaluations for one in record.candidates] == [6, 50]
    assert (record.split, record.samples, record.seed, record.grid) == ("validation", 32, 0, 2)


def test_the_better_model_is_drawn_from(tmp_path):
    """A Gaussian that is fitted to a dozen samples is further from the exact distribution than the other."""

    def either(values):
        other = STUDY["dataset"] | {"splits": {"train": 12, "validation": 64, "test": 64}}
        values["models"]["other"] = {"kind": "fitted_gaussian", "dataset": other}
        sampler = values["methods"]["conditioned"]["sampler"]
        values["methods"] = {
            "either": {"model": "other", "sampler": sampler, "sweep": {"model": ["other", "gaussian"]}},
            "right": {"model": "gaussian", "sampler": sampler},
        }

    study = studied(tmp_path, either)
    run(study, results=tmp_path / "results", progress=False)
    plan = Plan(study, tmp_path / "results")
    assert read_tuning(plan.tuning("either")).best.values == {"model": "gaussian"}
    for seed in study.seeds:
        drawn = [load_parts(plan.samples(name, seed))["state"].values for name in ("either", "right")]
        np.testing.assert_array_equal(*drawn)


def test_samples_are_those_of_the_chosen_values(plan, tmp_path):
    """Written into the study, without a sweep, the choice gives the same samples to the last bit."""

    def written(values):
        values.pop("tuning")
        method = values["methods"]["conditioned"]
        method["sampler"]["base"]["steps"] = 24
        method.pop("sweep")

    other = run(studied(tmp_path, written), results=tmp_path / "results", progress=False)
    for seed in (0, 1):
        drawn = load_parts(plan.samples("conditioned", seed))
        np.testing.assert_array_equal(drawn["state"], other.samples("conditioned", seed)["state"])
        assert json.loads(drawn.attrs["tuned"]) == {"sampler.base.steps": 24}
    assert "tuned" not in load_parts(plan.samples("plain", 0)).attrs


def test_the_test_split_has_no_part_in_the_choice(plan, tmp_path):
    """With another test split the record is the same; with another validation split it is not."""
    data = load_parts(plan.dataset_parts())
    record = read_tuning(plan.tuning("conditioned"))
    for split, same in (("test", True), ("validation", False)):
        moved = data.copy(deep=True)
        rows = moved["split"].values == split
        for name in ("state", "target"):
            if moved[name].dims[:1] == ("sample",):
                moved[name].values[rows] = 100.0
        folder = tmp_path / split
        write_store(moved, folder / "part.zarr", provenance(""))
        by = setting("tuning/metric", "sliced_wasserstein")
        other = Plan(studied(tmp_path, by), plan.results)
        found = tuned_again(other, [folder / "part.zarr"], folder / "again.json")
        original = tuned_again(other, plan.dataset_parts(), folder / "original.json")
        values = [[one.value for one in each.candidates] for each in (found, original)]
        assert (values[0] == values[1]) is same
    assert tuned_again(plan, plan.dataset_parts(), tmp_path / "same.json").candidates[0].value == (
        record.candidates[0].value
    )


def test_the_validation_split_takes_the_place_of_the_test_split():
    split = ["train", "validation", "test", "validation", "test"]
    data = xr.Dataset({"state": ("sample", np.arange(5.0))}, coords={"split": ("sample", split)})
    found = on_validation(data)
    assert list(found["split"].values) == ["train", "test", "test"]
    np.testing.assert_array_equal(found["state"], [0.0, 1.0, 3.0])


FAILING = """
from typing import Literal

import torch

from plumbline.samplers import DenoisingSpec
from plumbline.samplers.heun import HeunSpec


class SometimesSpec(HeunSpec):
    kind: Literal["sometimes"] = "sometimes"
    how: Literal["well", "singular", "broken"] = "well"

    def build(self, denoiser, context):
        sampler = super().build(denoiser, context)
        if self.how == "singular":
            raise torch.linalg.LinAlgError("the matrix is singular")
        if self.how == "broken":
            raise ValueError("this cannot be built")
        return sampler
"""


def failing(folder, values):
    (folder / "own.py").write_text(FAILING)

    def edit(study):
        study["plugins"] = ["own.py"]
        study["methods"]["conditioned"] = {
            "model": "gaussian",
            "sampler": {"kind": "sometimes", "steps": 2},
            "sweep": {"sampler.how": values},
        }

    return studied(folder, edit)


def test_a_candidate_that_fails_loses(plan, tmp_path):
    study = failing(tmp_path, ["singular", "well"])
    other = Plan(study, plan.results)
    record = tuned_again(other, plan.dataset_parts(), tmp_path / "tuned.json")
    singular, well = record.candidates
    assert singular.value is None and "the matrix is singular" in singular.failure
    assert well.value is not None and record.chosen == 1
    only = Plan(failing(tmp_path, ["singular"]), plan.results)
    with pytest.raises(TuningError, match=r"no candidate .* how = singular: the matrix is singular"):
        tuned_again(only, plan.dataset_parts(), tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()


def test_the_column_to_choose_by_must_be_clear():
    def column(name, better="lower"):
        return xr.DataArray(1.0, attrs={"better": better, "long_name": name, "units": "1"})

    found = xr.Dataset({"a": column("a"), "b": column("b"), "c": column("c", "neither")})
    assert column_of(found, TuningSpec(metric="m.b")).name == "b"
    assert column_of(found[["a", "c"]], TuningSpec(metric="m")).name == "a"
    with pytest.raises(TuningError, match=r"must have one column to choose by; name one of m.a, m.b"):
        column_of(found, TuningSpec(metric="m"))
    with pytest.raises(TuningError, match=r"'m' has no column 'c' to choose by; there are m.a, m.b"):
        column_of(found, TuningSpec(metric="m.c"))


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "tuned.json").write_text("{}")
    with pytest.raises(TuningError, match=r"tuned.json cannot be read .* the method will be tuned again"):
        read_tuning(tmp_path / "tuned.json")


# Around the job


def steps_of(caplog, study, results):
    caplog.clear()
    with caplog.at_level(logging.INFO, "plumbline.run"):
        run(study, results=results, progress=False)
    said = [one.getMessage() for one in caplog.records if one.name == "plumbline.run"]
    return [text.partition(": ")[2].partition(", part")[0] for text in said]


def test_a_second_run_tunes_again_only_what_has_changed(plan, caplog, tmp_path):
    assert steps_of(caplog, plan.study, plan.results) == []
    wider = studied(tmp_path, setting("methods/conditioned/sweep", {"sampler.base.steps": [2, 3, 24]}))
    seeds = [f"{job} of conditioned, seed {seed}" for seed in (0, 1) for job in ("samples", "metrics")]
    assert steps_of(caplog, wider, plan.results) == ["tuning of conditioned", *seeds, "comparison"]
    assert steps_of(caplog, plan.study, plan.results) == ["tuning of conditioned", *seeds, "comparison"]


def test_a_rehearsal_tries_every_candidate_and_the_column(plan, tmp_path):
    few = load_parts(plan.dataset_parts())
    assert Rehearsal(plan.study, few, "smoke", {}).run() == []
    unclear = studied(tmp_path, setting("tuning/metric", "distance"))
    (fault,) = Rehearsal(unclear, few, "smoke", {}).run()
    assert fault.startswith("tuned: tuning.metric: the metric 'distance' must have one column")

    study = failing(tmp_path, ["well", "singular", "broken"])
    assert Rehearsal(study, few, "smoke", {}).run() == [
        "tuned: methods.conditioned.sweep, with how = broken: this cannot be built (ValueError)"
    ]


def test_the_report_says_what_was_tuned(plan):
    comparison = load_store(plan.comparison())
    table = tuned_methods(comparison)
    rows = {row.method: (row.tried, row.chosen) for row in table.rows}
    assert rows == {"plain": ("1", "as in the study"), "conditioned": ("2", "base.steps = 24")}
    assert "32 samples for the validation split by each of at most 4 candidates" in table.caption
    assert "| conditioned | 2 | base.steps = 24 |" in tuned_as_markdown(table)
    assert section(comparison).tuned == table


def test_drawing_again_uses_the_choice(plan):
    from plumbline.results import open_results

    results = open_results(plan.comparison().parent)
    again = results.draw("conditioned", 8)
    assert again.attrs["network_evaluations"] == 2 * 24 + 2
    assert results.tuning("conditioned").best.values == {"sampler.base.steps": 24}
    with pytest.raises(ValueError, match="no method with a sweep 'plain'; available: conditioned"):
        results.tuning("plain")


def test_jobs_and_their_priorities(plan):
    names = [f"{job.stage} {name}".strip() for job, name, _ in jobs_of(plan)]
    assert "tune conditioned" in names and "tune plain" not in names
    requests = Requests([plan], {}, ResourcesSpec(), "smoke")
    tuning, sampling = (requests.of(stage, "tuned/conditioned") for stage in ("tune", "sample"))
    training = requests.of("train", plan.trained_name("gaussian"))
    assert training.path > tuning.path > sampling.path
    assert StudyEstimate().of("tune", "conditioned") is None


def test_the_estimate_counts_every_candidate(plan):
    found = estimate_study(plan.study)
    tuning, sampling = found.of("tune", "conditioned"), found.of("sample", "conditioned")
    assert not list(found.unknown())
    assert tuning.network_evaluations == sampling.network_evaluations == 2 * 24 + 2
    # Two candidates of 6 and 50 evaluations of 32 samples, against 50 evaluations of 64 samples.
    assert tuning.work.flops > 0
    assert 0.5 < tuning.work.operations / sampling.work.operations < 3

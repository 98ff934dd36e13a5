"""Plans: a slice has exactly what its job depends on, and the path of a result is the same everywhere."""

import json
import re
from pathlib import Path

import pytest
import yaml

from plumbline import plan as layout
from plumbline.plan import Plan, plans_of
from plumbline.study import REAL, StudyError, load_study

from .test_study import BURGERS, changed, setting


def planned(name, scale="smoke"):
    return Plan(load_study(BURGERS.with_name(f"{name}.yaml"), scale), Path("results"))


def judge_at_checkpoints(values):
    values["models"]["diffusion"]["training"]["checkpoints"] = 3
    values["methods"]["ddpm"]["at_checkpoints"] = True


def test_a_method_is_judged_at_the_checkpoints_of_its_model(tmp_path):
    plan = Plan(changed(tmp_path, judge_at_checkpoints))
    ddpm, steps = plan.study.methods["ddpm"], plan.study.models["diffusion"].training.steps
    expected = {f"ddpm-step{steps * i // 3}": ("ddpm", steps * i // 3) for i in (1, 2, 3)}
    assert plan.at_checkpoints() == expected
    name = next(iter(expected))
    assert plan.at_step(name) == (ddpm, expected[name][1])
    assert plan.at_step("ddpm") == (ddpm, None)
    # The slice is the same with and without checkpoints; only the weights differ.
    assert plan.sample_slice(name) == plan.sample_slice("ddpm") == planned("burgers").sample_slice("ddpm")
    assert plan.drawn_from(name, 0) == [plan.model_folder("diffusion", 0) / "checkpoints"]
    assert plan.drawn_from("ddpm", 0) == plan.model_files(["diffusion"], 0)


def test_what_jobs_make_lies_where_the_rules_say(tmp_path):
    """The output patterns of the rules, matched against the plan's paths, give the wildcards back."""
    plan = planned("burgers")

    def wildcards(path, pattern):
        named = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(pattern))
        return re.fullmatch(named, str(path.relative_to("results"))).groupdict()

    dataset, model = plan.dataset_name(), plan.trained_name("diffusion")
    assert wildcards(plan.dataset_parts()[1], layout.DATASET_PART) == {"dataset": dataset, "part": "0001"}
    assert wildcards(plan.rehearsal(), layout.REHEARSAL) == {"dataset": dataset}
    assert wildcards(plan.model_folder("diffusion", 3), layout.MODEL_FOLDER) == {
        "trained": model,
        "seed": "3",
    }
    drawn = {"study": "burgers", "method": "ddpm", "seed": "3"}
    assert wildcards(plan.samples("ddpm", 3)[1], layout.SAMPLES_PART) == {**drawn, "part": "0001"}
    assert wildcards(plan.metrics("ddpm", 3), layout.METRICS) == drawn
    assert wildcards(plan.comparison(), layout.COMPARISON) == {"study": "burgers"}
    assert len(plan.dataset_parts()) == plan.study.dataset.parts
    assert len(plan.samples("ddpm", 0)) == plan.study.samples.parts
    assert plan.samples(REAL, 0) == []


def test_what_a_model_depends_on():
    plan = planned("mirror_burgers")
    assert plan.study.built_with("finetuned") == ["mirror"]
    assert plan.study.depends_on("finetuned") == ["mirror"]
    assert set(plan.ancestors("finetuned")) == {"map", "mirror"}
    assert plan.ancestors("map") == []


def test_order_and_comments_change_no_slice(tmp_path):
    def reverse(values):
        if isinstance(values, dict):
            return {k: reverse(values[k]) for k in reversed(values)}
        return values

    path = tmp_path / "burgers.yaml"
    path.write_text(
        "# a comment\n" + yaml.safe_dump(reverse(yaml.safe_load(BURGERS.read_text())), sort_keys=False)
    )
    original, other = planned("burgers"), Plan(load_study(path, "smoke"))
    assert original.compare_slice() == other.compare_slice()
    assert slices(original) == slices(other)
    assert original.dataset_name() == other.dataset_name()


def test_studies_share_the_models_that_they_train_alike():
    """An assimilation uses the models of the study it extends and does not train them again."""
    extended, extending = planned("mirror_burgers", "laptop"), planned("assimilation_burgers", "laptop")
    for model in extending.study.models:
        assert extended.trained_name(model) == extending.trained_name(model)


@pytest.mark.parametrize(
    ("edit", "others"),
    [
        (setting("scales.smoke.models.map.training.steps", 7),
         {"map", "mirror", "finetuned", "mirror_restored"}),
        (setting("scales.smoke.models.free.training.steps", 7), {"free", "free_restored"}),
        (setting("models.mirror.initialise", "free"), {"mirror", "finetuned", "mirror_restored"}),
        (setting("scales.smoke.seeds", [3]), set()),
        (setting("title", "Another"), set()),
    ],
)  # fmt: skip
def test_a_model_has_another_folder_when_anything_below_it_changes(tmp_path, edit, others):
    resolved = yaml.safe_load(planned("mirror_burgers").study.model_dump_json())
    plans = []
    for change in (lambda values: None, edit):
        values = {
            **resolved,
            "scales": {"smoke": {"models": {"map": {"training": {}}, "free": {"training": {}}}}},
        }
        change(values)
        path = tmp_path / "mirror_burgers.yaml"
        path.write_text(yaml.safe_dump(values))
        plans.append(Plan(load_study(path, "smoke")))
    before, after = plans
    assert {m for m in before.study.models if before.trained_name(m) != after.trained_name(m)} == others


def test_another_dataset_or_the_start_of_a_start_is_another_folder(tmp_path):
    def start(steps):
        def edit(values):
            values["models"]["parent"] = values["models"]["diffusion"]
            values["models"]["diffusion"] = {**values["models"]["diffusion"], "initialise": "parent"}
            values["scales"]["smoke"]["models"]["parent"] = {"training": {"steps": steps}}

        return edit

    def name(edit):
        return Plan(changed(tmp_path, edit)).trained_name("diffusion")

    assert name(start(5)) != name(start(6))
    assert name(setting("scales.smoke.dataset.points", 32)) != name(lambda values: None)


def slices(plan):
    return {
        "generate": plan.generate_slice(),
        "train": plan.train_slice("diffusion"),
        **{f"sample {g}": plan.sample_slice(g) for g in plan.study.methods},
        "evaluate": plan.evaluate_slice(),
    }


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            setting("scales.smoke.methods.guided.sampler", {"strength": 0.9, "base": {"steps": 4}}),
            {"sample guided"},
        ),
        (setting("metrics.mmd", None), {"evaluate"}),
        (setting("scales.smoke.seeds", [0, 1, 2]), set()),
        (setting("title", "Another"), set()),
        (setting("scales.smoke.dataset.points", 32), {"generate"}),
        (setting("scales.smoke.models.diffusion.training.steps", 21), {"train"}),
    ],
)
def test_a_key_changes_the_slices_that_hold_it_and_no_other(tmp_path, edit, expected):
    def apply(values):
        edit(values)
        values["metrics"] = {k: v for k, v in values["metrics"].items() if v is not None}

    before, after = slices(planned("burgers")), slices(Plan(changed(tmp_path, apply)))
    assert {name for name in before if before[name] != after[name]} == expected


def test_two_studies_of_one_name_would_share_a_folder():
    study = planned("burgers").study
    assert list(plans_of([study], Path("results"))) == ["burgers"]
    with pytest.raises(StudyError, match="two studies are called 'burgers'"):
        plans_of([study, study], Path("results"))


def test_slices_are_json():
    assert all(json.loads(text) for text in slices(planned("burgers", "laptop")).values())

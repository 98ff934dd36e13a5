"""Studies: an error names the path of the faulty key."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plumbline.study import SCALES, StudyError, load_configuration, load_study
from plumbline.study_file import merged
from plumbline.workflow_files import studies_named, study_file

STUDIES = sorted((Path(__file__).parents[1] / "config" / "studies").rglob("*.yaml"))
BURGERS = next(p for p in STUDIES if p.stem == "burgers")


def changed(tmp_path, edit):
    """The Burgers study at smoke scale with an edit to its YAML."""
    values = yaml.safe_load(BURGERS.read_text())
    edit(values)
    path = tmp_path / "burgers.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_study(path, "smoke")


def setting(path, value):
    def edit(values):
        *parents, last = path.split(".")
        for part in parents:
            values = values[part]
        values[last] = value

    return edit


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_study_is_valid_at_every_scale(path, scale):
    study = load_study(path, scale)
    assert study.name == path.stem


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (setting("dataset.point", 3),
         r"dataset\.point: unknown key \(did you mean 'points'\?\); allowed: .*viscosity"),
        (setting("methods.ddpm.sampler.step", 3), r"methods\.ddpm\.sampler\.step: unknown key.*steps"),
        (setting("models.diffusion.training.step", 3),
         r"models\.diffusion\.training\.step: unknown key.*steps"),
        (setting("methods.ddpm.models", "x"), r"methods\.ddpm\.models: unknown key.*model"),
        (setting("seed", 3), r"seed: unknown key \(did you mean 'seeds'\?\)"),
        (setting("dataset.viscosity", -1), r"dataset\.viscosity: must be greater than 0.0, found -1"),
        (setting("dataset.viscosity", "thick"), r"dataset\.viscosity: expected a number, found 'thick'"),
        (setting("dataset.kind", "burger"),
         r"dataset: unknown kind 'burger' \(did you mean 'burgers'\?\); expected one of"),
        (setting("models.diffusion.network", {"width": 3}),
         r"models\.diffusion\.network: expected a mapping with a `kind`"),
        (setting("methods.ddpm.model", "difusion"),
         r"methods\.ddpm\.model: there is no model 'difusion' \(did you mean"),
        (
            setting("methods.guided.sampler.constraint", "mass"),
            r"methods\.guided\.sampler\.constraint: there is no constraint 'mass'; defined: burgers",
        ),
        (
            setting(
                "methods.guided.sampler",
                {"kind": "conditioned", "constraint": "burgers", "base": {"kind": "ddpm", "steps": 4}},
            ),
            r"methods\.guided\.sampler: `conditioned` requires `GaussianConditioning` \(.*\); "
            r"'burgers' \(`burgers_residual`\) provides `ProjectableConstraint`",
        ),
        (setting("scales.smoke.samples.count", 10**6),
         r"samples\.count: 1000000 samples, 1 per test sample, require 1000000 test samples, .* has 24;"),
        (setting("scales.smoke.seeds", [1, 1]), r"seeds: \[1, 1\] names a seed twice"),
        (setting("models.diffusion.initialise", "diffusion"), r"models\.diffusion: .*is circular"),
        (setting("methods.real", {"model": "diffusion", "sampler": {"kind": "ddpm"}}),
         r"methods\.real: the name"),
        (
            setting(
                "scales.smoke.methods.guided.sampler",
                {"base": {"kind": "guided", "constraint": "burgers", "base": {"kind": "ddpm"}}},
            ),
            r"methods\.guided\.sampler: `guided` and `guided` both backpropagate through the denoiser",
        ),
        (
            setting("methods.ddpm.at_checkpoints", True),
            r"methods\.ddpm\.at_checkpoints: requires one model with `training\.checkpoints` above 0",
        ),
        (setting("scales.smoke.models.diffusion.training.checkpoints", 10**6),
         r"`checkpoints` \(1000000\) must be at most"),
        (setting("scales", [1]), r"scales: expected a mapping of scales, found a list of 1"),
        (setting("scales.huge", {}), r"scales\.huge: unknown scale; allowed: smoke, laptop, paper"),
        (setting("models.gaussian.training", {"steps": 5}), r"models\.gaussian: .*not trained by steps"),
        (setting("models.diffusion.schedule", {"kind": "edm", "sigma_min": 90}),
         r"models\.diffusion\.schedule.*sigma_max"),
        (setting("name", "other"), r"name: must be that of the file, 'burgers'"),
        (setting("scales.paper", "abc"), r"scales\.paper: expected a mapping of keys, found 'abc'"),
        (setting("scales.paper", {"dataset": {"viscosity": -1}}),
         r"at the scale paper: dataset\.viscosity: must be greater than"),
        (setting("seeds", "0"), r"seeds: expected a list, found '0'"),
        (setting("scales.smoke.seeds", [0, "one"]), r"seeds\[1\]: expected a whole number, found 'one'"),
        (setting("seeds", [2**45]), r"seeds\[0\]: must be at most 4294967295, found 35184372088832"),
        (setting("dataset.seed", 2**45), r"dataset\.seed: must be at most 4294967295"),
        (setting("methods.ddpm.model", 3), r"methods\.ddpm\.model: expected text or a list, found 3"),
        (setting("models.diffusion.network.channels", [0, 8]),
         r"models\.diffusion\.network\.channels\[0\]: must be greater"),
        (setting("dataset.viscosity", "thick" * 100), r"found 'thickthick\w{0,50}\.\.\.'"),
        (setting("models." + "x" * 90, {"kind": "fitted_gaussian"}), r"models\.x{90}.*: expected at most 80"),
        (setting("scales.smoke.models.diffusion.training.steps", 0),
         r"models\.diffusion\.training\.steps: 0 steps would leave a `diffusion` untrained"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, edit, words):
    with pytest.raises(StudyError, match=words):
        changed(tmp_path, edit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"title: a\ntitle: b\n", "line 2: the key 'title' repeats the one in line 1"),
        (b"dataset: {kind: a, kind: b}\n", "line 1: the key 'kind' repeats"),
        (b"yes: 1\n", "line 1: the key True is not text: put it in quotes"),
        (b"title: \xff\xfe\n", "not UTF-8 text"),
        (b"a: " + b"[" * 5000, "nested too deeply|not YAML"),
        (b"a: &x [*x]\n", "a: unknown key"),
        (b"dataset: &x {kind: gaussian, splits: *x}\n", "nested too deeply|cannot be used"),
        (b"a: 2001-13-45\n", "a value cannot be read"),
        (b"", "expected a mapping of keys, found nothing"),
        (b"- a\n", "expected a mapping of keys, found a list of 1"),
        (b"extends: [burgers]\n", "extends: expected the name of a study, found a list of 1"),
        (b"extends: nothing\n", "there is no such study"),
        (b"extends: mine\n", "mine -> mine is circular"),
        (b"a: \x00\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_study_is_refused_by_path(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(StudyError, match=words) as refused:
        load_study(path, "smoke")
    assert str(path.parent) in str(refused.value)


def test_what_is_wrong_at_every_scale_is_said_once(tmp_path):
    with pytest.raises(StudyError) as refused:
        changed(tmp_path, setting("dataset.viscosity", -1))
    assert str(refused.value).count("viscosity") == 1
    assert "at the scale" not in str(refused.value)


def two_constraints(outer, inner):
    """A study with a sampler that enforces one constraint around a sampler of another."""

    def edit(values):
        values["constraints"] = {
            "one": {"kind": "sum", "total": 0.0},
            "two": {"kind": "sum", "total": 1.0, "blocks": 1},
        }
        base = {"kind": inner, "constraint": "two", "base": {"kind": "ddpm", "steps": 2}}
        sampler = {"kind": outer, "constraint": "one", "base": base}
        values["methods"] = {"both": {"model": "diffusion", "sampler": sampler}}
        for over in values["scales"].values():
            over.pop("methods", None)

    return edit


@pytest.mark.parametrize("outer", ["final_projection", "conditioned", "projected", "final_completion"])
@pytest.mark.parametrize("inner", ["final_projection", "guided"])
def test_a_constraint_that_another_one_undoes_is_refused(tmp_path, outer, inner):
    with pytest.raises(
        StudyError, match=rf"sampler\.base: `{outer}` projects finished samples onto 'one', .* undo 'two'"
    ):
        changed(tmp_path, two_constraints(outer, inner))


def test_the_best_of_n_may_be_finished_further(tmp_path):
    def edit(values):
        base = {"kind": "best_of_n", "constraint": "burgers", "base": {"kind": "heun"}}
        values["methods"]["both"] = {
            "model": "diffusion",
            "sampler": {"kind": "final_projection", "constraint": "burgers", "base": base},
        }

    assert changed(tmp_path, edit).methods["both"].sampler.base.draws == 8


@pytest.mark.parametrize("outer", ["guided", "best_of_n"])
def test_a_constraint_that_is_enforced_last_may_stand_within_another(tmp_path, outer):
    assert changed(tmp_path, two_constraints(outer, "final_projection")).methods["both"]


def test_all_faults_are_named_at_once(tmp_path):
    def edit(values):
        values["dataset"]["viscosity"] = -1
        values["methods"]["ddpm"]["sampler"]["steps"] = 0
        values["methods"]["ddpm"]["model"] = "none"
        values["scales"]["smoke"]["methods"]["ddpm"] = {}

    with pytest.raises(StudyError) as caught:
        changed(tmp_path, edit)
    assert "dataset.viscosity" in str(caught.value)
    assert "methods.ddpm.sampler.steps" in str(caught.value)


def test_a_missing_study_lists_what_there_is():
    with pytest.raises(StudyError, match=r"did you mean 'burgers'\?.*available: \["):
        load_study(BURGERS.with_name("burger.yaml"), "smoke")


def test_not_yaml_is_said(tmp_path):
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(StudyError, match="not YAML"):
        load_study(tmp_path / "x.yaml", "smoke")


def test_configuration_is_checked():
    with pytest.raises(
        StudyError, match=r"scale: expected one of 'smoke', 'laptop' or 'paper', found 'large'"
    ):
        load_configuration({"studies": ["burgers"], "scale": "large"})


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("results", " ", "results: must name a folder, found nothing"),
        ("results", "a{b}", r"results: must not have braces.*found 'a\{b\}'"),
        ("studies", ["a", "b", "a"], r"studies: names a twice, found \['a', 'b', 'a'\]"),
        ("studies", [], "studies: expected at least 1, found 0"),
        ("studies", {"burgers": 1}, "studies: expected a list, found a mapping"),
        ("studies", [["a"]], r"studies\[0\]: expected text, found a list of 1"),
        ("result", "a", r"result: unknown key \(did you mean 'results'\?\)"),
    ],
)
def test_a_configuration_that_cannot_run_is_refused_by_key(key, value, words):
    with pytest.raises(StudyError, match=words):
        load_configuration({"studies": ["burgers"], key: value})


def test_merging():
    base = {"a": {"kind": "x", "p": 1}, "b": [1, 2], "c": 3}
    assert merged(base, {"a": {"p": 2}, "b": [3], "c": None}) == {"a": {"kind": "x", "p": 2}, "b": [3]}
    assert merged(base, {"a": {"kind": "y", "q": 1}})["a"] == {"kind": "y", "q": 1}


def test_the_study_and_its_plan_load_without_torch_and_fast():
    """Every cluster job reads the Snakefile again: it must not import torch, xarray or azula."""
    program = f"""
import sys, time
from plumbline.plan import Plan
from plumbline.study import load_study
plan = Plan(load_study({str(BURGERS)!r}, "laptop"))
plan.model_files(plan.study.models, 0), plan.evaluate_slice()
print(time.process_time())
print([m for m in ("torch", "xarray", "azula", "cantera", "scipy") if m in sys.modules])
"""
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    seconds, heavy = output.splitlines()
    assert heavy == "[]"
    assert float(seconds) < 1.0


def extending(tmp_path, text: str, parent: str = "gaussian"):
    folder = tmp_path / "studies"
    folder.mkdir()
    for path in BURGERS.parent.glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    (folder / "mine.yaml").write_text(f"extends: {parent}\n{text}")
    return folder / "mine.yaml"


def test_a_study_may_extend_another(tmp_path):
    path = extending(
        tmp_path, "title: Mine\nseeds: [7]\nmethods: {guided: null}\nscales: {laptop: {seeds: [8]}}\n"
    )
    mine, parent = load_study(path, "paper"), load_study(path.with_name("gaussian.yaml"), "paper")
    assert (mine.name, mine.title, mine.seeds) == ("mine", "Mine", (7,))
    assert mine.dataset == parent.dataset
    assert set(parent.methods) - set(mine.methods) == {"guided"}
    assert load_study(path, "laptop").seeds == (8,)


def test_what_a_study_removes_no_scale_brings_back(tmp_path):
    path = extending(tmp_path, "methods: {guided: null}\n", parent="combustion")
    assert "guided" not in load_study(path, "smoke").methods


@pytest.mark.rejects
def test_a_study_that_extends_itself_is_refused(tmp_path):
    path = extending(tmp_path, "", parent="mine")
    with pytest.raises(StudyError, match="mine -> mine is circular"):
        load_study(path, "smoke")


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("methods: {likelihood: {sampler: {kind: heun}}}",
         r"`heun` requires `Transporting` \(a model .*\); 'likelihood' \(`regression`\) provides "),
        ("methods: {likelihood: {sampler: {kind: guided, constraint: balances, base: {kind: predictive}}}}",
         "requires a base that draws by denoising"),
        ("methods: {likelihood: {sampler: {kind: guided, constraint: balances, "
         "base: {kind: best_of_n, constraint: balances, base: {kind: predictive}}}}}",
         "`best_of_n` does not"),
        ("methods: {likelihood: {model: [likelihood, likelyhood]}}", "did you mean 'likelihood'"),
        ("models: {likelihood: {constraint: balance}}", "there is no constraint 'balance'"),
        ("models: {likelihood: {constraint: null}}", "needs `constraint`"),
        ("models: {likelihood: {training: {samples: 5000}}}", "more than the"),
        ("models: {likelihood: {likelihood: {kind: condition}}}", "did you mean 'conditioned'"),
    ],
)  # fmt: skip
def test_what_cannot_work_in_a_regression_is_named(tmp_path, text, words):
    with pytest.raises(StudyError, match=words):
        load_study(extending(tmp_path, text + "\n", parent="process"), "paper")


def test_a_folder_stands_for_its_studies(tmp_path):
    """Of the project, then of the library; a study of the same name comes first, and each is named once."""
    for name in ("one", "mine/b", "mine/a", "both", "both/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("")
    (tmp_path / "notes").mkdir()
    names = studies_named(["mine", "one", "mine/a", "both", "notes", "nothing"], tmp_path)
    assert names == ["mine/a", "mine/b", "one", "both", "notes", "nothing"]
    assert "exact_conditionals/ellipse_mixture" in studies_named(["exact_conditionals"], tmp_path)
    with pytest.raises(StudyError, match="did you mean 'exact_conditionals'"):
        load_study(study_file("exact_conditional", tmp_path), "smoke")


def test_a_study_in_a_folder_is_found_by_its_name_alone(tmp_path):
    """Of the project, then of the library; not if two folders of a project have such a study."""
    for name in ("mine/a", "mine/b", "yours/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text("")
    assert study_file("a", tmp_path) == tmp_path / "mine/a.yaml"
    assert study_file("ellipse_mixture", tmp_path).parent.name == "exact_conditionals"
    assert study_file("gaussian", tmp_path) == BURGERS.with_name("gaussian.yaml")
    with pytest.raises(StudyError, match=r"there is no such study.*available: .*'mine', 'mine/a', 'mine/b'"):
        load_study(study_file("b", tmp_path), "smoke")


def test_one_name_is_a_list_of_one():
    """`snakemake --config studies=exact_conditionals` gives text."""
    assert load_configuration({"studies": "exact_conditionals"}).studies == ("exact_conditionals",)
    with pytest.raises(StudyError, match="studies: expected a list, found 3"):
        load_configuration({"studies": 3})

"""Which results a change rebuilds: exactly the expected jobs, and no other.

Most tests ask Snakemake for its plan, in a dry run. `test_what_is_planned_is_what_is_made` compares the plan
with the stores that are new after the run.
"""

import base64
import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.workflow

MINI = {
    "title": "Mini",
    "description": "Two methods on a small Gaussian.",
    "dataset": {"kind": "gaussian", "parts": 1, "splits": {"train": 64, "validation": 16, "test": 16}},
    "constraints": {"equalities": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}},
    "models": {
        "diffusion": {
            "kind": "diffusion",
            "network": {"kind": "mlp", "width": 16, "blocks": 1, "embedding": 8},
            "training": {"steps": 5, "batch": 8},
        },
        "gaussian": {"kind": "fitted_gaussian"},
    },
    "methods": {
        "plain": {"model": "diffusion", "sampler": {"kind": "ddpm", "steps": 3}},
        "projected": {
            "model": "gaussian",
            "sampler": {
                "kind": "projected",
                "constraint": "equalities",
                "base": {"kind": "ddpm", "steps": 3},
            },
        },
    },
    "metrics": {"mmd": {"kind": "mmd"}, "distance": {"kind": "constraint_distance"}},
    "samples": {"count": 8},
    "seeds": [0],
}


class Runs:
    """The mini study. `after` runs Snakemake on a YAML text and returns what is new.

    `planned` returns what would be, and undoes the edit.
    """

    def __init__(self, workflow) -> None:
        self.workflow = workflow
        self.path = workflow.folder / "config" / "studies" / "mini.yaml"
        self.configure("mini")
        self.path.write_text(yaml.safe_dump(MINI))
        self.seen = self.results()

    def configure(self, *studies: str) -> None:
        (self.workflow.folder / "config" / "config.yaml").write_text(
            f"studies: [{', '.join(studies)}]\nscale: paper\nresources: {{estimate: false}}\n"
        )

    def results(self) -> dict[str, int]:
        """All results with their creation times; a store counts as one."""
        folder = self.workflow.folder / "results"
        found = {}
        kept = ("*.zarr", "weights.pt", "report.html", "rehearsal.json", "tuning/*.json")
        for path in (found for pattern in kept for found in folder.rglob(pattern)):
            made = path / "zarr.json" if path.is_dir() else path
            found[str(path.relative_to(folder))] = made.stat().st_mtime_ns
        return found

    def after(self, text: str) -> set[str]:
        self.path.write_text(text)
        self.workflow.snakemake("--cores", "2")
        now = self.results()
        new = {path for path, made in now.items() if self.seen.get(path) != made}
        self.seen = now
        return {_stage(path) for path in new}

    def planned(self, text: str) -> set[str]:
        """The jobs of a dry run. Each result appears once: no job is planned twice."""
        before = self.path.read_text()
        self.path.write_text(text)
        done = self.workflow.snakemake("--cores", "2", "-n", "--quiet", "host")
        self.path.write_text(before)
        outputs = re.findall(r"^    output: results/(.*)$", done.stdout + done.stderr, re.MULTILINE)
        jobs = [_stage(output.split(", ")[0]) for output in outputs]
        assert outputs or "Nothing to be done" in done.stdout + done.stderr
        assert len(set(jobs)) == len(jobs)
        return set(jobs)


def _stage(path: str) -> str:
    """`sample projected 0` for samples/projected/seed0/part-0001.zarr, and so on."""
    parts = Path(path).parts
    if parts[0] == "data":
        return "generate"
    if parts[0] == "report.html":
        return "report"
    if parts[0] == "rehearsals":
        return "rehearse"
    if parts[0] == "models":
        return f"train {parts[1].split('-')[0]} {parts[2].removeprefix('seed')}"
    if parts[1] == "comparison.zarr":
        return "compare"
    if parts[1] == "tuning":
        return f"tune {Path(path).stem}"
    stage = {"samples": "sample", "metrics": "evaluate"}[parts[1]]
    return f"{stage} {parts[2]} {parts[3].removeprefix('seed').removesuffix('.zarr')}"


@pytest.fixture(scope="module")
def runs(workflow):
    made = Runs(workflow)
    assert made.after(yaml.safe_dump(MINI)) == {
        "generate", "rehearse", "train diffusion 0", "train gaussian 0", "sample plain 0",
        "sample projected 0",
        "evaluate plain 0", "evaluate projected 0", "evaluate real 0", "compare", "report",
    }  # fmt: skip
    return made


def current(runs) -> dict:
    return yaml.safe_load(runs.path.read_text())


def test_nothing_changed_reruns_nothing(runs):
    assert runs.after(runs.path.read_text()) == set()


def test_a_comment_and_another_order_rerun_nothing(runs):
    study = current(runs)
    reverse = {k: study[k] for k in reversed(study)}
    assert runs.after("# a comment\n" + yaml.safe_dump(reverse, sort_keys=False)) == set()


def with_another_sampler_setting(study: dict) -> dict:
    study["methods"]["projected"]["sampler"]["base"]["steps"] = 4
    return study


def with_another_metric(study: dict) -> dict:
    study["metrics"]["precision_recall"] = {"kind": "precision_recall"}
    return study


def with_another_network(study: dict) -> dict:
    study["models"]["diffusion"]["network"]["width"] = 24
    return study


def test_a_sampler_setting_reruns_that_method(runs):
    expected = {"sample projected 0", "evaluate projected 0", "compare", "report"}
    assert runs.planned(yaml.safe_dump(with_another_sampler_setting(current(runs)))) == expected


def test_a_metric_reruns_the_evaluation(runs):
    expected = {
        "evaluate plain 0",
        "evaluate projected 0",
        "evaluate real 0",
        "compare",
        "report",
    }
    assert runs.planned(yaml.safe_dump(with_another_metric(current(runs)))) == expected


def test_the_network_reruns_its_training_and_what_follows(runs):
    expected = {"train diffusion 0", "sample plain 0", "evaluate plain 0", "compare", "report"}
    assert runs.planned(yaml.safe_dump(with_another_network(current(runs)))) == expected


def test_what_is_planned_is_what_is_made(runs):
    """The three changes above at once, in a real run.

    The training itself rehearses the changed study first.
    """
    study = with_another_network(with_another_metric(with_another_sampler_setting(current(runs))))
    planned = runs.planned(yaml.safe_dump(study))
    assert planned == {
        "train diffusion 0", "sample plain 0", "sample projected 0",
        "evaluate plain 0", "evaluate projected 0", "evaluate real 0", "compare", "report",
    }  # fmt: skip
    assert runs.after(yaml.safe_dump(study)) == planned | {"rehearse"}
    assert runs.planned(yaml.safe_dump(study)) == set()


def test_going_back_trains_nothing(runs):
    """The folders of models are named by what they depend on: those of the former network are still there."""
    study = current(runs)
    study["models"]["diffusion"]["network"]["width"] = 16
    assert runs.planned(yaml.safe_dump(study)) == {"sample plain 0", "evaluate plain 0", "compare", "report"}


def test_another_seed_runs_that_seed(runs):
    study = current(runs)
    study["seeds"] = [0, 1]
    expected = {f"{job} 1" for job in (
        "train diffusion", "train gaussian", "sample plain", "sample projected",
        "evaluate plain", "evaluate projected", "evaluate real",
    )}  # fmt: skip
    assert runs.planned(yaml.safe_dump(study)) == expected | {"compare", "report"}


def test_what_cannot_work_stops_before_any_training(runs):
    """The studies have changed since the rehearsal.

    The next training rehearses them again first and does not start.
    """
    study = current(runs)
    study["metrics"]["spectrum"] = {"kind": "energy_spectrum"}
    study["models"]["diffusion"]["network"]["width"] = 40
    runs.path.write_text(yaml.safe_dump(study))
    refused = runs.workflow.snakemake("--cores", "2", check=False)
    assert refused.returncode != 0
    assert "mini: metrics.spectrum: `energy_spectrum` needs one or two periodic directions" in refused.stderr
    assert {path for path, made in runs.results().items() if runs.seen.get(path) != made} == set()
    del study["metrics"]["spectrum"]
    study["models"]["diffusion"]["network"]["width"] = 24
    runs.path.write_text(yaml.safe_dump(study))
    assert not {job for job in runs.planned(runs.path.read_text()) if job.startswith(("train", "sample"))}


def test_the_dataset_reruns_everything(runs):
    study = current(runs)
    study["dataset"]["correlation"] = 0.1
    assert runs.planned(yaml.safe_dump(study)) == {
        "generate", "rehearse", "train diffusion 0", "train gaussian 0", "sample plain 0",
        "sample projected 0",
        "evaluate plain 0", "evaluate projected 0", "evaluate real 0", "compare", "report",
    }  # fmt: skip


def test_a_model_may_start_from_another(runs):
    """The reference adds an edge to the training DAG; `parent` is trained first."""
    study = current(runs)
    study["models"]["parent"] = study["models"]["diffusion"]
    study["models"]["diffusion"] = {**study["models"]["diffusion"], "initialise": "parent"}
    again = runs.after(yaml.safe_dump(study))
    assert {"train parent 0", "train diffusion 0", "sample plain 0"} <= again
    assert "train gaussian 0" not in again


def test_a_study_trains_no_model_that_another_has_trained(runs):
    other = runs.workflow.folder / "config" / "studies" / "other.yaml"
    faster = {"model": "diffusion", "sampler": {"kind": "ddpm", "steps": 2}}
    other.write_text(yaml.safe_dump({"extends": "mini", "methods": {"faster": faster}}))
    runs.configure("mini", "other")
    again = runs.planned(runs.path.read_text())
    assert {"sample faster 0", "sample plain 0", "compare"} <= again
    assert not {job for job in again if job.startswith(("generate", "train"))}


@pytest.mark.parametrize("noted_before", [False, True])
def test_a_snakemake_that_was_killed_after_a_rehearsal_plans_everything_else(runs, noted_before):
    """The rehearsal is whole, but Snakemake has not noted its end, for the first or for a second time."""
    runs.configure("mini")
    folder = runs.workflow.folder
    (rehearsal,) = (path for path in folder.glob("results/rehearsals/*/rehearsal.json"))
    name = base64.b64encode(str(rehearsal.relative_to(folder)).encode()).decode()
    record = folder / ".snakemake" / "metadata" / name
    kept = record.read_bytes()
    if not noted_before:
        record.unlink()
    (folder / ".snakemake" / "incomplete" / name).write_text("{}")
    missing = [folder / "results" / name for name in ("models", "mini", "report.html")]
    for path in missing:
        path.rename(folder / f"{path.name}-elsewhere")
    planned = runs.planned(runs.path.read_text())
    for path in missing:
        (folder / f"{path.name}-elsewhere").rename(path)
    record.write_bytes(kept)
    assert {"train gaussian 0", "sample projected 0", "evaluate projected 0", "compare", "report"} <= planned
    assert not {"generate", "rehearse"} & planned


def test_a_sweep_reruns_its_method_and_a_change_of_it_tunes_again(runs):
    runs.configure("mini")
    runs.after(runs.path.read_text())
    study = current(runs)
    study["tuning"] = {"metric": "mmd", "budget": 2}
    study["methods"]["projected"]["sweep"] = {"sampler.base.steps": [2, 3]}
    expected = {"tune projected", "sample projected 0", "evaluate projected 0", "compare", "report"}
    assert runs.planned(yaml.safe_dump(study)) == expected
    assert runs.after(yaml.safe_dump(study)) == expected
    assert runs.planned(yaml.safe_dump(study)) == set()
    study["methods"]["projected"]["sweep"] = {"sampler.base.steps": [2, 3, 4]}
    assert runs.planned(yaml.safe_dump(study)) == expected
    study = current(runs)
    study["methods"]["plain"]["sampler"]["steps"] = 4
    others = {"sample plain 0", "evaluate plain 0", "compare", "report"}
    assert runs.planned(yaml.safe_dump(study)) == others

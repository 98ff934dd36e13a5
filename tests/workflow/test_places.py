"""Workflows in other folders, unusual folder names and changing user files, in real Snakemake runs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from plumbline.handover import variable
from plumbline.study import Configuration

from .conftest import Workflow

pytestmark = pytest.mark.workflow

ODD = 'it\'s {x} "é" $HOME & co'
NETWORK = {"kind": "mlp", "width": 8, "blocks": 1, "embedding": 8}
DIFFUSION = {"kind": "diffusion", "network": NETWORK, "training": {"steps": 2, "batch": 8}}
MINE = {
    "title": "Own data",
    "description": "A store of a user's, in a folder with a name of many kinds of characters.",
    "dataset": {
        "kind": "stored",
        "path": "dôta's/mine.zarr",
        "parts": 1,
        "splits": {"train": 24, "validation": 8, "test": 8},
    },
    "constraints": {"total": {"kind": "sum", "total": 2.0}},
    "models": {"first": DIFFUSION, "second": {**DIFFUSION, "initialise": "first"}},
    "methods": {"free": {"model": "second", "sampler": {"kind": "heun", "steps": 2}}},
    "metrics": {"sliced_wasserstein": {"kind": "sliced_wasserstein"}},
    "samples": {"count": 8},
    "seeds": [0],
}
CONFIGURATION = {
    "studies": ["mine"],
    "scale": "paper",
    "results": "mes résultats d'été",
    "resources": {"estimate": False},
}
IMPORTING = f"""
module plumbline:
    snakefile: "../clone/Snakefile"
    config: {CONFIGURATION!r}
    prefix: "gen"

use rule * from plumbline as plumbline_*

rule own:
    output: "own.txt"
    shell: "set +o | grep pipefail > {{output}}"

rule all:
    default_target: True
    input: "gen/{CONFIGURATION["results"]}/report.html", "own.txt"
"""


class Places:
    """A clone in one folder, and a working directory with another Snakefile that imports the clone's."""

    def __init__(self, folder: Path) -> None:
        self.workflow = Workflow(folder / ODD / "clone")
        (self.workflow.folder / "config" / "studies" / "mine.yaml").write_text(yaml.safe_dump(MINE))
        self.work = folder / ODD / "work"
        self.store = self.work / "dôta's" / "mine.zarr"
        self.write(0)
        (self.work / "Snakefile").write_text(IMPORTING)

    def write(self, seed: int) -> None:
        states = np.random.default_rng(seed).random((40, 4)).astype(np.float32)
        xr.Dataset({"state": (("sample", "x"), states)}).to_zarr(self.store, mode="w")

    def run(self, *arguments: str, **options) -> str:
        done = self.workflow.snakemake("--cores", "1", *arguments, within=self.work, **options)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    made = Places(tmp_path_factory.mktemp("places"))
    made.run()
    return made


def test_every_job_runs_as_a_module_below_odd_names(places):
    results = places.work / "gen" / CONFIGURATION["results"]
    assert "Own data" in (results / "report.html").read_text()
    (card,) = results.glob("models/second-*/seed0/model.json")
    assert "fingerprint" not in json.loads(card.read_text())["spec"]
    assert (places.work / "gen" / "logs" / "report.log").is_file()
    assert {path.name for path in places.workflow.folder.iterdir()} & {"results", "logs", "gen"} == set()


def test_rules_beside_keep_their_own_shell(places):
    assert (places.work / "own.txt").read_text() == "set -o pipefail\n"


def test_the_report_of_snakemake_finds_its_caption(places):
    assert "Report created" in places.run("--report", "own.zip")


def test_another_process_plans_the_job_that_it_was_started_for(places):
    """A job on another machine that lacks the file gets its fingerprint from the main process."""
    name = variable(Configuration.model_validate(CONFIGURATION))
    studies = places.work / ".snakemake" / "plumbline" / "studies"
    (before,) = (places.work / "gen" / CONFIGURATION["results"] / "data").iterdir()
    (known,) = studies.glob("*.json")
    places.store.rename(places.store.with_name("gone"))
    arguments = (
        "-n", "--mode", "remote", "--nolock", "--force", "--allowed-rules", "plumbline_generate",
        "--target-jobs", f"plumbline_generate:dataset={before.name},part=0000",
    )  # fmt: skip
    planned = places.run(*arguments, **{name: str(known.relative_to(places.work))})
    assert f"{before.name}/part-0000.zarr" in planned
    said = places.run("-n", check=False)
    assert f"dataset.path: there is nothing at {places.store}, which should be a zarr store." in said
    assert f"Relative paths start at the folder that Snakemake runs in, {places.work}." in said
    places.store.with_name("gone").rename(places.store)


def test_a_touched_file_reruns_nothing_and_a_changed_one_what_follows(places):
    for file in places.store.rglob("*"):
        os.utime(file)
    assert "Nothing to be done" in places.run("-n")
    places.write(1)
    planned = places.run("-n")
    (before,) = (places.work / "gen" / CONFIGURATION["results"] / "data").iterdir()
    assert before.name not in planned
    for rule in ("generate", "train", "sample", "evaluate", "compare", "report"):
        assert f"rule plumbline_{rule}:" in planned
    places.write(0)


def test_a_snakefile_elsewhere_finds_its_own_folder_and_data_of_the_working_directory(places):
    snakefile = str(places.workflow.folder / "Snakefile")
    done = places.workflow.snakemake(
        "-n", "-s", snakefile, "--directory", str(places.work), "--cores", "1", "--quiet", "host",
        "--config", "studies=[mine]", "scale=paper", within=places.work.parent,
    )  # fmt: skip
    assert "output: results/data/stored-" in done.stdout + done.stderr

"""What a start of Snakemake estimates: nothing before jobs start, and then what the jobs ask for."""

import os
import re

import pytest
import yaml

from plumbline.estimates import FOLDER
from plumbline.estimating import remembered_estimates
from plumbline.machine import ResourcesSpec
from plumbline.plan import Plan
from plumbline.resources import FIXED, Requests
from plumbline.study import load_study

from .test_rerun import MINI

pytestmark = pytest.mark.workflow

LONGEST_START = 10.0
"""CPU seconds of a dry run of the default configuration: 2 are usual, and estimates would take 20 more."""


def requested(output: str, rule: str) -> tuple[int, int]:
    """Memory and priority of the job of a rule that a run has started."""
    block = output[output.index(f"rule {rule}:") :]
    return int(re.search(r"mem_mb=(\d+)", block)[1]), int(re.search(r"priority: (\d+)", block)[1])


@pytest.fixture
def mini(workflow):
    """A workflow without results and estimates, whose study `mini` is small at every scale."""
    (workflow.folder / "config" / "studies" / "mini.yaml").write_text(yaml.safe_dump(MINI))
    for file in (workflow.folder / FOLDER).glob("*.json"):
        file.unlink()
    return workflow


def test_a_first_start_estimates_nothing(workflow):
    before = os.times()
    workflow.snakemake("--dry-run")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < LONGEST_START
    workflow.snakemake("--dry-run", "--resources", "mem_mb=100000")
    workflow.snakemake("--dry-run", "--profile", "profiles/slurm")
    workflow.snakemake("--lint", check=False)
    assert not (workflow.folder / FOLDER).exists()


def test_jobs_under_a_limit_ask_for_the_estimate_and_priorities_follow_it(mini):
    options = ("--until", "generate", "--quiet", "host", "--config", "studies=[mini]")
    done = mini.snakemake("--cores", "1", "--resources", "mem_mb=100000", *options)
    study = load_study(mini.folder / "config" / "studies" / "mini.yaml", "laptop")
    plan = Plan(study)
    estimates = remembered_estimates([study], mini.folder / FOLDER)
    expected = Requests([plan], estimates, ResourcesSpec(), "laptop").of("generate", plan.dataset_name())
    assert expected.fixed is None
    assert requested(done.stdout + done.stderr, "generate") == (expected.mem_mb(), expected.priority)


def test_jobs_of_a_local_run_do_not_wait_for_the_estimate(mini):
    options = ("--forceall", "--until", "generate", "--quiet", "host", "--config", "studies=[mini]")
    done = mini.snakemake("--cores", "1", *options)
    said = done.stdout + done.stderr
    assert "Estimating time and memory of mini" in said
    assert requested(said, "generate")[0] == FIXED["generate"].memory

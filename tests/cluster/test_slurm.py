"""A whole study, a training over machines and job arrays, on a private SLURM of two nodes."""

import signal

import pytest
import torch

from ..workflow.same_results import differences
from .conftest import Job, workflow_with_studies
from .private_slurm import NODES, PrivateSlurm


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with PrivateSlurm(tmp_path_factory.mktemp("slurm") / "private") as running:
        yield running


@pytest.fixture(scope="module")
def finished(slurm, whole, tmp_path_factory):
    job = Job(workflow_with_studies(tmp_path_factory.mktemp("study") / "run"), slurm)
    job.finish(job.start("--slurm-array-jobs", "generate,sample,evaluate", "--slurm-array-limit", "50"))
    return job


def test_a_study_ends_in_the_numbers_of_one_machine(finished, whole):
    """Its parts run as jobs of their own, some of them in arrays; one model trains in two processes."""
    assert differences(whole / "results", finished.folder / "results") == []
    assert "Submitted array job" in finished.said()
    # 2 parts, 1 rehearsal, 2 trainings, 4 parts of samples, 3 evaluations, comparison and report: 14 jobs.
    assert finished.slurm.calls("sbatch") < 14


def test_a_training_over_two_nodes_is_one_in_two_processes(finished):
    """Its tasks run on different machines, and their random numbers depend on the rank alone."""
    finished.finish(finished.start("--until", "train", study="spread"))
    models = finished.folder / "results" / "models"
    pair, spread = (torch.load(path, weights_only=True) for path in models.glob("pair-*/seed0/weights.pt"))
    for name in pair:  # the two ways of starting may differ in the last bit
        torch.testing.assert_close(spread[name], pair[name], rtol=1e-5, atol=1e-6)
    jobs = finished.slurm.run("scontrol", "show", "jobs")
    assert f"NodeList={','.join(NODES)}" in jobs or "NodeList=node[1-2]" in jobs


def test_a_thousand_small_jobs_are_twenty_submissions(slurm, tmp_path):
    """The nodes are drained, so that all jobs wait in the queue, and none is run."""
    job = Job(workflow_with_studies(tmp_path / "many"), slurm)
    slurm.run("scontrol", "update", f"NodeName={','.join(NODES)}", "State=DRAIN", "Reason=test")
    before = slurm.calls("sbatch")
    process = job.start(
        "--until", "generate", "--jobs", "1000",
        "--slurm-array-jobs", "generate", "--slurm-array-limit", "50", study="many",
    )  # fmt: skip
    try:
        waiting = ("squeue", "-h", "-r", "-t", "pending")
        job.wait(lambda: len(slurm.run(*waiting).splitlines()) == 1000, "the submissions")
        assert slurm.calls("sbatch") - before == 20
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
        job.wait(lambda: not slurm.run(*waiting).strip(), "the cancelling")
    finally:
        process.kill()
        slurm.run("scontrol", "update", f"NodeName={','.join(NODES)}", "State=RESUME")

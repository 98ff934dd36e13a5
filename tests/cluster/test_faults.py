"""Faults of a cluster in the middle of a training: each run ends in the numbers of the undisturbed one.

Each fault has a SLURM of its own, and all of them run side by side, because they mostly wait.
"""

import re
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from ..workflow.same_results import differences
from .conftest import Job
from .private_slurm import PrivateSlurm

RETRIES = ("--until", "sample", "--retries", "3")


def time_limit(job: Job) -> None:
    """SLURM ends the job when it has run for a minute. Snakemake submits it again."""
    process = job.start(*RETRIES)
    held = job.held()
    job.slurm.run("scontrol", "update", f"JobId={held}", "TimeLimit=1")
    state = ("squeue", "-h", "-t", "all", "-j", held, "-o", "%T")
    job.wait(lambda: "TIMEOUT" in job.slurm.run(*state), "the time limit")
    job.hold.unlink()
    job.finish(process)


def cancelled(job: Job) -> None:
    """Somebody cancels the job. Snakemake submits it again."""
    process = job.start(*RETRIES)
    held = job.held()
    job.slurm.run("scancel", held)
    job.wait(lambda: held not in job.running(), "the cancelling")
    job.hold.unlink()
    job.finish(process)
    # SIGTERM reached the training, which saves its state after the current step.
    attempts = job.folder.glob(".snakemake/slurm_logs/rule_train/alone-*/*.log")
    assert any(
        re.search(r"stops after step \d+, whose state is saved", path.read_text()) for path in attempts
    )


def lost_node(job: Job) -> None:
    """A node is drained and then lost with everything on it. SLURM requeues the job on the other one."""
    process = job.start(*RETRIES)
    held = job.held()
    node = job.running()[held]
    job.slurm.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    job.slurm.lose(node)
    job.wait(lambda: job.running().get(held) not in (node, None), "the start on the other node")
    job.hold.unlink()
    job.finish(process)


def preempted(job: Job) -> None:
    """A more urgent job takes both nodes. SLURM requeues the training."""
    process = job.start(*RETRIES)
    held = job.held()
    job.slurm.run(
        "sbatch", "-p", "urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 5"
    )
    job.wait(lambda: held not in job.running(), "the preemption")
    job.hold.unlink()
    job.finish(process)
    restarts = re.search(r"Restarts=(\d+)", job.slurm.run("scontrol", "show", "job", held))
    assert restarts and int(restarts[1]) == 1
    assert job.training_log().count("resuming at step") == 1


def killed_snakemake(job: Job) -> None:
    """Snakemake is killed and started again while its job goes on, and waits for that job."""
    process = job.start(*RETRIES)
    held = job.held()
    process.kill()
    process.wait()
    assert job.start("--unlock").wait(timeout=300) == 0
    again = job.start(*RETRIES)
    job.wait(lambda: len(job.running()) == 2, "the second job")
    job.wait(lambda: "waiting for the process" in job.training_log(), "the waiting")
    assert held in job.running()
    job.hold.unlink()
    job.finish(again)
    assert "its result is kept" in job.training_log()


def killed_snakemake_and_finished_job(job: Job) -> None:
    """Snakemake is killed, its job finishes, and Snakemake is started again."""
    process = job.start(*RETRIES)
    job.held()
    process.kill()
    process.wait()
    job.hold.unlink()
    job.wait(lambda: not job.running(), "the end of the job")
    (weights,) = job.folder.glob("results/models/alone-*/seed0/weights.pt")
    written = weights.stat().st_mtime_ns
    assert job.start("--unlock").wait(timeout=300) == 0
    job.finish(job.start(*RETRIES))
    assert weights.stat().st_mtime_ns == written


FAULTS = {
    fault.__name__: fault
    for fault in (
        time_limit, cancelled, lost_node, preempted, killed_snakemake, killed_snakemake_and_finished_job,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(whole, before_training, tmp_path_factory):
    """The folder of each run, when it has ended."""

    def run(name: str) -> Job:
        with PrivateSlurm(tmp_path_factory.mktemp(name) / "slurm") as slurm:
            job = Job(before_training(name), slurm)
            FAULTS[name](job)
            return job

    with ThreadPoolExecutor(len(FAULTS)) as pool:
        yield {name: pool.submit(run, name) for name in FAULTS}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_no_number(outcomes: dict[str, Future[Job]], whole, fault):
    job = outcomes[fault].result(timeout=3600)
    for results in ("models", "held/samples"):
        assert differences(whole / "results" / results, job.folder / "results" / results) == []
    if not fault.startswith("killed_snakemake"):  # whose job goes on to the end
        # From the state saved at step 20, or the one that SIGTERM made it save.
        resumed = re.search(r"resuming at step (\d+)", job.training_log())
        assert resumed and int(resumed[1]) >= 20

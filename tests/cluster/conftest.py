"""Runs of the workflow on a private SLURM, through `profiles/slurm`."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ..workflow.conftest import BIN, Workflow
from .private_slurm import PrivateSlurm, lacking

NETWORK = {"kind": "mlp", "width": 16, "blocks": 1, "embedding": 8}
TRAINING = {
    "steps": 60, "batch": 8, "save_every": 20, "log_every": 7, "warmup": 5, "accelerator": "cpu",
    "checkpoints": 2,
}  # fmt: skip
WAITING = '''
"""A diffusion model whose training waits in its step 30 as long as a file `hold` exists."""
import time
from pathlib import Path
from typing import Literal

from plumbline import interruption
from plumbline.models.diffusion.diffusion import DiffusionSpec


class WaitingSpec(DiffusionSpec):
    """A diffusion model whose training waits for a file to vanish."""

    kind: Literal["waiting"] = "waiting"

    def build(self, on):
        model = super().build(on)
        steps = []

        def after_step(terms):
            steps.append(1)
            if len(steps) == 30 and Path("hold").exists():
                Path("waiting").touch()
            while len(steps) == 30 and Path("hold").exists():
                if any(one.requested for one in interruption._deferring):
                    break
                time.sleep(0.05)

        model.after_step = after_step
        return model
'''
HELD = {
    "title": "Held",
    "description": "A training that waits, and one of two processes.",
    "plugins": ["waiting.py"],
    "dataset": {"kind": "gaussian", "parts": 2, "splits": {"train": 64, "validation": 16, "test": 16}},
    "constraints": {"equalities": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}},
    "models": {
        "alone": {"kind": "waiting", "network": NETWORK, "training": TRAINING},
        "pair": {"kind": "diffusion", "network": NETWORK, "training": TRAINING | {"devices": 2}},
    },
    "methods": {name: {"model": name, "sampler": {"kind": "ddpm", "steps": 3}} for name in ("alone", "pair")},
    "metrics": {"distance": {"kind": "constraint_distance"}},
    "samples": {"count": 8, "parts": 2},
    "seeds": [0],
}
SPREAD = HELD | {
    "title": "Spread",
    "models": {"pair": {"kind": "diffusion", "network": NETWORK, "training": TRAINING | {"nodes": 2}}},
    "methods": {"pair": HELD["methods"]["pair"]},
}
MANY = HELD | {
    "title": "Many",
    "dataset": HELD["dataset"] | {"parts": 1000, "splits": {"train": 1000, "validation": 100, "test": 100}},
}


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _slurm_can_run():
    if reason := lacking():
        pytest.skip(f"NO CLUSTER TEST RUNS HERE: {reason}")


class Job:
    """A folder with the workflow, and Snakemake running in it on a SLURM."""

    def __init__(self, folder: Path, slurm: PrivateSlurm) -> None:
        self.folder = folder
        self.slurm = slurm
        self.hold = folder / "hold"
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, study: str = "held") -> subprocess.Popen[str]:
        """Starts Snakemake with the profile, which asks SLURM for news more often than on a real cluster."""
        environment = os.environ | {
            "PATH": f"{self.slurm.path}:{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "pipeline_src"),
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
        }
        command = [
            sys.executable, str(Path(__file__).with_name("prompt_snakemake.py")),
            "--profile", "profiles/slurm", "--slurm-status-command", "squeue",
            "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20",
            "--config", f"studies=[{study}]", "scale=paper", *arguments,
        ]  # fmt: skip
        self.log = (self.folder / "snakemake.log").open("a")
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=self.log, stderr=self.log
        )
        return self.process

    def finish(self, process: subprocess.Popen[str], seconds: float = 1800) -> None:
        assert process.wait(timeout=seconds) == 0, self.said()[-8000:]

    def said(self) -> str:
        return (self.folder / "snakemake.log").read_text()

    def wait(self, done: Callable[[], bool], what: str, seconds: float = 1200) -> None:
        """Waits until something has happened; Snakemake may not fail before, but a test may kill it."""
        end = time.monotonic() + seconds
        while not done():
            failed = self.process is not None and self.process.poll() not in (None, -signal.SIGKILL)
            assert not failed and time.monotonic() < end, f"{what} did not happen.\n{self.said()[-6000:]}"
            time.sleep(0.2)

    def running(self) -> dict[str, str]:
        """The nodes of SLURM's running jobs of this folder, by job."""
        lines = self.slurm.run("squeue", "-h", "-t", "running", "-o", "%i|%N|%Z").splitlines()
        rows = [line.split("|") for line in lines]
        return {job: node for job, node, folder in rows if Path(folder) == self.folder}

    def held(self) -> str:
        """Waits until the training has saved a state and waits in its step 30. Returns its SLURM job."""
        self.wait((self.folder / "waiting").exists, "the waiting of the training")
        (job,) = self.running()
        return job

    def training_log(self) -> str:
        """The log of the held training; empty while Snakemake has deleted it for the next attempt."""
        return "".join(path.read_text() for path in self.folder.glob("logs/train/alone-*.log"))


def workflow_with_studies(folder: Path) -> Path:
    workflow = Workflow(folder)
    studies = workflow.folder / "config" / "studies"
    for name, study in {"held": HELD, "spread": SPREAD, "many": MANY}.items():
        (studies / f"{name}.yaml").write_text(yaml.safe_dump(study))
    (studies / "waiting.py").write_text(WAITING)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory, worker_id):
    """The folder of the undisturbed run, on this machine without SLURM. Test processes share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "undisturbed"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "results" / "report.html").exists():
            run_undisturbed(workflow_with_studies(folder))
    return folder


def run_undisturbed(folder: Path) -> None:
    environment = os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "pipeline_src"),
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }
    command = [str(BIN / "snakemake"), "--cores", "2", "--config", "studies=[held]", "scale=paper"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]


@pytest.fixture(scope="session")
def before_training(whole, tmp_path_factory):
    """Returns a function that copies the undisturbed run as it was after its rehearsal, with a `hold`."""

    def copied(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "run"
        shutil.copytree(whole, folder, symlinks=True)
        held = folder / "results" / "held"
        models = folder.glob("results/models/alone-*")
        for path in (
            *models,
            held / "samples" / "alone",
            held / "metrics" / "alone",
            held / "comparison.zarr",
        ):
            shutil.rmtree(path)
        (folder / "results" / "report.html").unlink()
        shutil.rmtree(folder / "logs")
        (folder / "hold").touch()
        return folder

    return copied

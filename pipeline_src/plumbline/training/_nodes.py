"""Trainings over several machines: SLURM starts a process for each device of each machine.

The job of such a training runs on the first machine of its allocation. It holds the lock of the training's
folder, and starts itself again as the tasks of one job step, with `srun`. Each task learns its rank from the
variables of SLURM.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plumbline.training import TrainingSpec

STEP = "PLUMBLINE_TRAINING_STEP"
"""Name of the variable that is set for the tasks that `run_as_step` starts."""


class NodesError(RuntimeError):
    """A training over several machines cannot start its processes, or one of them failed."""


def is_task() -> bool:
    """Whether this process is one that `run_as_step` has started."""
    return STEP in os.environ


def is_started_by_training() -> bool:
    """Whether a training has started this process, on this machine or over several."""
    return is_task() or "LOCAL_RANK" in os.environ


def run_as_step(spec: TrainingSpec, arguments: Sequence[str]) -> None:
    """Runs a command of plumbline once for each device of each machine, and waits for all of them.

    Args:
        spec: the training settings, with the numbers of machines and of devices on each.
        arguments: the arguments of the command, as of `plumbline.cli.main`.

    Raises:
        NodesError: this is no job of SLURM, or a process failed.
    """
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise NodesError(
            f"`training.nodes` is {spec.nodes}, but this process is in no job of SLURM, which starts the "
            "processes of such a training: run `snakemake --profile profiles/slurm`, or set `nodes: 1`."
        )
    command = [
        "srun",
        f"--nodes={spec.nodes}",
        f"--ntasks={spec.nodes * spec.devices}",
        f"--ntasks-per-node={spec.devices}",
        f"--cpus-per-task={os.environ.get('OMP_NUM_THREADS', '1')}",
        "--kill-on-bad-exit=1",
        "--export=ALL",
        *(sys.executable, "-m", "plumbline.cli", *arguments),
    ]
    done = subprocess.run(command, env=os.environ | {STEP: "1"}, check=False)
    if done.returncode:
        raise NodesError(
            f"a process of the training failed (srun ended with status {done.returncode}); its message is "
            "above this one, or in the log of the SLURM job."
        )

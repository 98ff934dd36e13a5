"""Kills a workflow at random moments and compares its final results with those of an undisturbed run.

    python tests/workflow/kills.py --kills 30 --seed 0 --folder /tmp/kills

Each round starts Snakemake, and kills a job, Snakemake itself, both, or the fork server with SIGKILL, at
random moments until Snakemake has ended. The next round unlocks the folder and starts it again while jobs of
a killed one may still run. After the last kill the workflow runs to its end, and all samples, metrics,
weights and steps of training logs are compared with those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from same_results import differences

from conftest import BIN, Workflow

STUDIES = ("burgers", "fair_digits", "combustion")
LONGEST = 0.2
"""Longest time between two kills over that of an undisturbed run."""


def command(study: str) -> list[str]:
    return [
        str(BIN / "snakemake"), "--cores", "2", "--rerun-incomplete", "--config", f"studies=[{study}]",
        "scale=smoke",
    ]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "XDG_CACHE_HOME": str(folder / ".cache"), "OMP_NUM_THREADS": "1"}


def run_to_the_end(folder: Path, study: str) -> float:
    """Runs the workflow and returns the seconds that it took."""
    start = time.monotonic()
    subprocess.run(
        command(study), cwd=folder, env=environment(folder), check=True, capture_output=True, timeout=1800
    )
    return time.monotonic() - start


JOBS, SERVERS = 0, 1
FORK_SERVER = b"plumbline.forkserver.server"


def words_of(process: Path) -> list[bytes]:
    return (process / "cmdline").read_bytes().split(b"\0")


def jobs_of(folder: Path) -> tuple[list[int], list[int]]:
    """The processes of jobs that work in a folder, forks among them, and their fork servers."""
    jobs, servers = [], []
    for process in Path("/proc").iterdir():
        try:
            words = words_of(process)
            if Path(os.readlink(process / "cwd")) != folder.resolve():
                continue
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            forked = FORK_SERVER in words and FORK_SERVER in words_of(Path("/proc") / parent)
            if forked or b"plumbline.cli" in words:
                jobs.append(int(process.name))
            elif FORK_SERVER in words:
                servers.append(int(process.name))
        except (OSError, ValueError):
            continue
    return jobs, servers


def unlock(folder: Path, study: str) -> None:
    """Removes the locks that a killed Snakemake has left."""
    if any((folder / ".snakemake" / "locks").glob("*")):
        options = {"cwd": folder, "env": environment(folder), "capture_output": True, "timeout": 600}
        subprocess.run([*command(study), "--unlock"], check=True, **options)


def disturbed_round(
    folder: Path, study: str, generator: random.Random, most: int, longest: float
) -> list[str]:
    """Starts Snakemake and kills something, `most` times at most, until Snakemake has ended.

    Returns:
        What was killed; nothing if the workflow ended before the first kill.
    """
    unlock(folder, study)
    process = subprocess.Popen(
        command(study),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    killed: list[str] = []
    while len(killed) < most:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(generator.uniform(0.05, 1.0) * longest)
            break
        target = generator.choice(["job", "snakemake", "both", "server"])
        if target != "snakemake":
            chosen = SERVERS if target == "server" else JOBS
            while not (found := jobs_of(folder)[chosen]) and process.poll() is None:
                time.sleep(0.1)
            if not found:
                break
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(generator.choice(found), signal.SIGKILL)
        killed.append(target)
        if target in ("snakemake", "both"):
            process.kill()
            break
    process.wait()
    return killed


def kill(study: str, kills: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Kills a study's workflow that many times. Returns what was killed and the differences at the end."""
    generator = random.Random(seed)
    whole, cut = folder / f"{study}-whole", folder / f"{study}-cut"
    for part in (whole, cut):
        Workflow(part)
    longest = LONGEST * run_to_the_end(whole, study)
    killed: Counter[str] = Counter()
    while sum(killed.values()) < kills:
        start = time.monotonic()
        round_ = disturbed_round(cut, study, generator, kills - sum(killed.values()), longest)
        print(
            f"{study}: {', '.join(round_) or 'nothing'} killed, {time.monotonic() - start:.0f} s", flush=True
        )
        killed.update(round_)
        if not round_:  # everything was done: start over
            run_to_the_end(cut, study)
            if faults := differences(whole / "results", cut / "results"):
                return killed, faults
            shutil.rmtree(cut / "results")
    unlock(cut, study)
    run_to_the_end(cut, study)
    return killed, differences(whole / "results", cut / "results")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="kills of each study")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES))
    options = parser.parse_args()
    faulty = False
    for name in options.studies:
        counts, faults = kill(name, options.kills, options.seed, options.folder)
        faulty |= bool(faults)
        print(
            f"{name}: {sum(counts.values())} kills {dict(counts)}, differences: {faults or 'none'}",
            flush=True,
        )
    sys.exit(faulty)

"""Kills a workflow at random moments and compares its final results with those of an undisturbed run.

    python tests/workflow/kills.py --kills 30 --seed 0 --folder /tmp/kills

Each round starts Snakemake, waits for a random time, and kills a job, Snakemake itself, or both with SIGKILL.
If Snakemake died, the next round unlocks the folder and starts it again while jobs of the dead one may still
run. After the last kill the workflow runs to its end, and all samples, metrics, weights and steps of training
logs are compared with those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from conftest import BIN, Workflow
from plumbline.storage.store import load_store

STUDIES = ("burgers", "fair_digits", "combustion")
LONGEST = 20.0
"""Seconds after which a round kills at the latest."""
CLOCKS = ("time", "seconds", "steps_per_second", "samples_per_second")
"""Parts of the names of columns and variables that say how long something took."""


def command(study: str) -> list[str]:
    return [
        str(BIN / "snakemake"), "--cores", "2", "--rerun-incomplete", "--config", f"studies=[{study}]",
        "scale=smoke",
    ]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "XDG_CACHE_HOME": str(folder / ".cache"), "OMP_NUM_THREADS": "1"}


def run_to_the_end(folder: Path, study: str) -> None:
    subprocess.run(
        command(study), cwd=folder, env=environment(folder), check=True, capture_output=True, timeout=1800
    )


def jobs_of(folder: Path) -> list[int]:
    """The processes of jobs that work in a folder, whoever started them."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"plumbline.cli" in words and Path(os.readlink(process / "cwd")) == folder.resolve():
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


def disturbed_round(folder: Path, study: str, generator: random.Random) -> str | None:
    """Starts Snakemake and kills something. Returns what was killed, or None if the workflow ended before."""
    subprocess.run(
        [*command(study), "--unlock"], cwd=folder, env=environment(folder), capture_output=True, timeout=600
    )
    process = subprocess.Popen(
        command(study),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + generator.uniform(1.0, LONGEST)
    while time.monotonic() < end:
        if process.poll() is not None:
            return None
        time.sleep(0.02)
    target = generator.choice(["job", "snakemake", "both"])
    jobs = jobs_of(folder)
    if target != "snakemake":
        while not jobs and process.poll() is None:
            jobs = jobs_of(folder)
        if not jobs:
            return None
        os.kill(generator.choice(jobs), signal.SIGKILL)
    if target != "job":
        process.kill()
    process.wait()
    return target


def differences(whole: Path, cut: Path) -> list[str]:
    """The differences between two folders of results, except times and provenance."""
    found = []
    for path in sorted(whole.rglob("zarr.json")):
        if path.parent.suffix != ".zarr":
            continue
        name = path.parent.relative_to(whole)
        one, other = load_store(path.parent), load_store(cut / name)
        if set(one.variables) != set(other.variables):
            found.append(f"{name}: other variables")
        for key in set(one.variables) & set(other.variables):
            a, b = one[key].values, other[key].values
            if not any(clock in str(key) for clock in CLOCKS) and not (
                np.array_equal(a, b, equal_nan=True) if a.dtype.kind == "f" else np.array_equal(a, b)
            ):
                found.append(f"{name}: {key}")
    for path in sorted(whole.rglob("weights.pt")):
        name = path.relative_to(whole)
        one, other = (torch.load(folder / name, weights_only=True) for folder in (whole, cut))
        if not all(torch.equal(one[key], other[key]) for key in one):
            found.append(f"{name}: weights")
    for path in sorted(whole.rglob("training_log.csv")):
        name = path.relative_to(whole)
        rows = [list(csv.DictReader((folder / name).open())) for folder in (whole, cut)]
        contents = [
            [{k: v for k, v in row.items() if not any(c in k for c in CLOCKS)} for row in log] for log in rows
        ]
        if contents[0] != contents[1]:
            found.append(f"{name}: steps")
    left = [
        path
        for path in cut.rglob("*")
        if path.name.endswith((".partial", ".retired", "state.pt", ".writer", ".stale"))
    ]
    return [*found, *(f"left over: {path.relative_to(cut)}" for path in left)]


def kill(study: str, kills: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Kills a study's workflow that many times. Returns what was killed and the differences at the end."""
    generator = random.Random(seed)
    whole, cut = folder / f"{study}-whole", folder / f"{study}-cut"
    for part in (whole, cut):
        Workflow(part)
    run_to_the_end(whole, study)
    killed: Counter[str] = Counter()
    while sum(killed.values()) < kills:
        what = disturbed_round(cut, study, generator)
        if what is None:  # everything was done: start over
            run_to_the_end(cut, study)
            if faults := differences(whole / "results", cut / "results"):
                return killed, faults
            shutil.rmtree(cut / "results")
        else:
            killed[what] += 1
    subprocess.run(
        [*command(study), "--unlock"], cwd=cut, env=environment(cut), capture_output=True, timeout=600
    )
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

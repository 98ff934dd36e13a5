"""What a start costs: CPU seconds of `plumbline check` and of a dry run, against the number of jobs.

The default configuration comes first, as a new clone starts it and with estimates of all its studies, then
generated studies with many methods, models, seeds, and parts of data and samples. Each command runs several
times, and the smallest CPU time counts. The last column is the additional time a job, compared with the row
above of fewer jobs.

    python benchmarks/start_up.py                # up to 100,000 jobs, about 20 minutes
    python benchmarks/start_up.py --jobs 3000
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

HOME = Path(__file__).resolve().parents[1]
DEFAULT = yaml.safe_load((HOME / "config" / "config.yaml").read_text())["studies"]
# Methods, models, seeds, parts of samples, parts of data, by the approximate number of jobs.
SIZES = {
    3_000: (20, 6, 12, 11, 4),
    12_000: (40, 8, 24, 11, 8),
    30_000: (60, 12, 40, 11, 8),
    100_000: (100, 20, 80, 11, 16),
}


def large_study(methods: int, models: int, seeds: int, parts: int, parts_of_data: int) -> dict[str, object]:
    """A study of this size. Methods differ in the number of steps, models in their width."""
    return {
        "title": "Many jobs",
        "description": "A study that no one runs.",
        "dataset": {
            "kind": "gaussian",
            "dimension": 8,
            "equalities": 2,
            "parts": parts_of_data,
            "splits": {"train": 10_000, "validation": 2_048, "test": 1_024},
        },
        "constraints": {"equalities": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}},
        "models": {
            f"model{i}": {"kind": "diffusion", "network": {"kind": "mlp", "width": 16 + i, "blocks": 1}}
            | {"training": {"steps": 100, "batch": 64}}
            for i in range(models)
        },
        "methods": {
            f"method{i}": {"model": f"model{i % models}", "sampler": {"kind": "heun", "steps": 8 + i}}
            for i in range(methods)
        },
        "metrics": {"constraint_distance": {"kind": "constraint_distance"}, "mmd": {"kind": "mmd"}},
        "samples": {"count": 1024, "parts": parts},
        "seeds": list(range(seeds)),
    }


def project(folder: Path, contents: dict[str, object]) -> None:
    """Writes a project whose only study is `many`."""
    (folder / "config" / "studies").mkdir(parents=True)
    (folder / "config" / "studies" / "many.yaml").write_text(yaml.safe_dump(contents))
    (folder / "config" / "config.yaml").write_text("studies: [many]\nscale: laptop\nresults: results\n")
    shutil.copytree(HOME / "profiles", folder / "profiles")
    (folder / "Snakefile").write_text(
        f"configfile: f'{{workflow.basedir}}/config/config.yaml'\n"
        f"module plumbline:\n    snakefile: {str(HOME / 'Snakefile')!r}\n    config: config\n"
        f"use rule * from plumbline\n"
    )


def cpu_seconds(command: list[str], folder: Path) -> tuple[float, str]:
    """CPU seconds of a command and its children, and what it printed.

    Raises:
        RuntimeError: the command failed.
    """
    environment = os.environ | {"PYTHONPATH": str(HOME / "pipeline_src"), "OMP_NUM_THREADS": "1"}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, done.stdout + done.stderr


def row(
    title: str, folder: Path, study: str, rounds: int, above: tuple[int, float] | None, new: bool = False
) -> tuple[int, float]:
    """Prints one row; returns its number of jobs and the seconds of the dry run.

    Args:
        title: the first cell.
        folder: the folder of the configuration.
        study: the study to check.
        rounds: how often each command runs.
        above: what the row above returned.
        new: whether every dry run starts without files of an earlier one.
    """
    check = min(cpu_seconds(["plumbline.cli", "check", study], folder)[0] for _ in range(rounds))
    seconds = float("inf")
    for _ in range(rounds):
        if new:
            shutil.rmtree(folder / ".snakemake", ignore_errors=True)
        used, printed = cpu_seconds(["snakemake", "--dry-run", "--cores", "1"], folder)
        seconds = min(seconds, used)
    jobs = int(re.findall(r"^total +(\d+)", printed, re.MULTILINE)[0])
    each = ""
    if above is not None and jobs > above[0]:
        each = f"{1e3 * (seconds - above[1]) / (jobs - above[0]):.2f}"
    print(f"| {title} | {jobs:,} | {check:.2f} | {seconds:.2f} | {each} |", flush=True)
    return jobs, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=list(SIZES), choices=list(SIZES), help="sizes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each command runs")
    options = parser.parse_args()
    print("| configuration | jobs | `plumbline check`, CPU s | dry run, CPU s | ms a further job |")
    print("|---|---:|---:|---:|---:|")
    folder = Path(tempfile.mkdtemp(prefix="start-up-"))
    try:
        (folder / "default").mkdir()
        for name in ("Snakefile", "rules", "config", "profiles", "envs", "docs"):
            (folder / "default" / name).symlink_to(HOME / name)
        (folder / "default" / "pipeline_src").symlink_to(HOME / "pipeline_src")
        above = row("default, new clone", folder / "default", "burgers", options.rounds, None, new=True)
        for study in DEFAULT:
            cpu_seconds(["plumbline.cli", "estimate", study], folder / "default")
        above = row("default, estimates known", folder / "default", "burgers", options.rounds, above)
        for jobs in options.jobs:
            one = folder / str(jobs)
            project(one, large_study(*SIZES[jobs]))
            above = row("generated", one, "config/studies/many.yaml", options.rounds, above)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

"""CPU time of a run outside its work: start-up and imports of the jobs, Snakemake, shells.

    python benchmarks/overhead.py --folder /tmp/overhead                  # the default configuration
    python benchmarks/overhead.py --folder /tmp/overhead --studies gaussian --scale smoke

Snakemake runs this clone's workflow in an empty folder, on `--cores` cores. `overhead_hook/sitecustomize.py`
measures each Python process. *Work* is the CPU time of a job's stage function without the imports within it.
The rest of the CPU time of all processes, which the kernel counts for this one and its descendants, is
overhead.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PR_SET_CHILD_SUBREAPER = 36
STAGES = ("generate", "rehearse", "train", "sample", "evaluate", "compare", "report")


def run(
    folder: Path, workflow: Path, cores: int, config: list[str], options: list[str]
) -> tuple[float, float]:
    """Runs the workflow and returns the CPU seconds of all its processes, and its wall-clock seconds."""
    measured = folder / "processes"
    measured.mkdir(parents=True)
    hook = Path(__file__).resolve().parent / "overhead_hook"
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(hook),
        "PLUMBLINE_OVERHEAD": str(measured),
    }
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow / "Snakefile")]
    command += ["--cores", str(cores), "--quiet", "all", *(["--config", *config] if config else []), *options]
    # Processes whose parent has ended become children of this one, so that their CPU time is counted here.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    code = subprocess.run(command, cwd=folder, env=environment).returncode
    wall = time.monotonic() - started
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass
    if code:
        sys.exit(f"Snakemake failed in {folder}.")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, wall


def stage_of(process: dict) -> str:
    """The stage of a job, or what the process is otherwise."""
    words = [*process["executable"], *process["arguments"]]
    if "stage" in process["arguments"]:
        return process["arguments"][process["arguments"].index("stage") + 1]
    if any("forkserver.server" in word for word in words):
        return "fork server"
    return "Snakemake" if any("snakemake" in word for word in words) else "other Python"


def table(processes: list[dict], total: float) -> str:
    """The table: jobs, CPU seconds and overhead of each stage, of Snakemake and of everything else."""
    by_stage: dict[str, list[dict]] = {}
    for process in processes:
        by_stage.setdefault(stage_of(process), []).append(process)
    work = sum(process["work"] for process in processes)
    lines = [
        "| | jobs | CPU s | of it overhead, s | overhead a job, s | overhead / CPU of the run |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    known = 0.0
    for stage in STAGES:
        if stage in by_stage:
            jobs = by_stage.pop(stage)
            cpu = sum(job["cpu"] for job in jobs)
            outside = cpu - sum(job["work"] for job in jobs)
            known += cpu
            lines.append(
                f"| {stage} | {len(jobs)} | {cpu:.1f} | {outside:.1f} | {outside / len(jobs):.2f} "
                f"| {outside / total:.1%} |"
            )
    # Snakemake has waited for its jobs, so that its own children's time is theirs.
    known += (snakemake := sum(one["own"] for one in by_stage.get("Snakemake", [])))
    known += (server := sum(one["own"] for one in by_stage.get("fork server", [])))
    others = {
        "Snakemake's processes": snakemake,
        "fork server": server,
        "shells, clients, ends of processes": total - known,
    }
    for name, seconds in others.items():
        lines.append(f"| {name} | | {seconds:.1f} | {seconds:.1f} | | {seconds / total:.1%} |")
    lines.append(
        f"| all | {sum(stage_of(one) in STAGES for one in processes)} | {total:.1f} | {total - work:.1f} | "
        f"| {1 - work / total:.1%} |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="an empty or new folder for the run")
    parser.add_argument("--workflow", type=Path, default=ROOT, help="the clone to run (default: this one)")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--studies", nargs="+", help="studies (default: those of config/config.yaml)")
    parser.add_argument("--scale", help="scale (default: that of config/config.yaml)")
    parser.add_argument("--read", action="store_true", help="print the table of a run that is in the folder")
    parser.add_argument("snakemake", nargs="*", help="further options for Snakemake, after --")
    options = parser.parse_args()
    if not options.read:
        config = [f"studies=[{','.join(options.studies)}]"] if options.studies else []
        config += [f"scale={options.scale}"] if options.scale else []
        cpu, wall = run(options.folder, options.workflow, options.cores, config, options.snakemake)
        (options.folder / "total.json").write_text(json.dumps({"cpu": cpu, "wall": wall}))
    whole = json.loads((options.folder / "total.json").read_text())
    measured = [json.loads(file.read_text()) for file in (options.folder / "processes").glob("*.json")]
    print(table(measured, whole["cpu"]))
    print(f"\n{whole['cpu']:.0f} s of CPU, {whole['wall']:.0f} s by the clock, on {options.cores} cores.")

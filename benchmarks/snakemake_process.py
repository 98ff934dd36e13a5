"""What Snakemake's own process costs: its CPU time and threads over 300 and 3,000 jobs.

Each job sleeps for a second and creates a folder, and has six inputs and a parameter of two kilobytes, as the
jobs of a study have. All jobs are ready from the start. Snakemake runs as it comes, with
`rules/scheduler.smk`, with the profile of this project, and with both. Its own CPU time and threads are read
from /proc while it runs; the jobs' CPU time does not count.

    python benchmarks/snakemake_process.py                   # about half an hour, mostly asleep
    python benchmarks/snakemake_process.py --jobs 300
    python benchmarks/snakemake_process.py --cases profile both
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
RULES = HOME / "rules" / "scheduler.smk"
# Jobs at a time, and the seconds that each sleeps.
CORES, ASLEEP = 8, 1
TICKS = os.sysconf("SC_CLK_TCK")
# By name: title, whether `rules/scheduler.smk` is included, and the profile.
CASES = {
    "own": ("Snakemake's own", False, "none"),
    "file": ("with `rules/scheduler.smk`", True, "none"),
    "profile": ("with the profile", False, str(HOME / "profiles" / "default")),
    "both": ("with the file and the profile", True, str(HOME / "profiles" / "default")),
}

SNAKEFILE = """
{include}
rule all:
    input:
        [f"results/{{i}}" for i in range({jobs})],

rule job:
    input:
        [f"data/{{i}}" for i in range(6)],
    output:
        directory("results/{{i}}"),
    params:
        spec=lambda wildcards: f"{{wildcards.i}}" * 100 + "x" * 2000,
    log:
        "logs/{{i}}.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    shell:
        "sleep {asleep} && mkdir {{output}} && : {{params.spec}}"
"""


def used(process: int) -> tuple[float, int]:
    """CPU seconds and threads of a process, without those of its children."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[17])


def measure(jobs: int, mended: bool, profile: str) -> tuple[float, float, int]:
    """CPU seconds, seconds on the clock, and the largest number of threads of one run.

    Raises:
        RuntimeError: Snakemake failed.
    """
    folder = Path(tempfile.mkdtemp(prefix="snakemake-process-"))
    try:
        (folder / "data").mkdir()
        for i in range(6):
            (folder / "data" / str(i)).touch()
        include = f"include: {str(RULES)!r}" if mended else ""
        (folder / "Snakefile").write_text(SNAKEFILE.format(include=include, jobs=jobs, asleep=ASLEEP))
        command = ["-m", "snakemake", "--cores", str(CORES), "--profile", profile]
        with (folder / "stderr").open("w") as output:
            start = time.monotonic()
            run = subprocess.Popen([sys.executable, *command], cwd=folder, stderr=output, stdout=output)
            seconds, threads = 0.0, 0
            while run.poll() is None:
                # A process that has ended and is not waited for yet still has its times.
                seconds, now = used(run.pid)
                threads = max(threads, now)
                time.sleep(0.2)
        if run.returncode:
            raise RuntimeError(f"status {run.returncode}: {(folder / 'stderr').read_text()[-2000:]}")
        return seconds, time.monotonic() - start, threads
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[300, 3000], help="numbers of jobs")
    parser.add_argument(
        "--cases", nargs="+", default=list(CASES), choices=list(CASES), help="how it schedules"
    )
    options = parser.parse_args()
    print("| jobs | scheduling | CPU s of the process | a job, ms | of a core | threads, at most |")
    print("|---:|---|---:|---:|---:|---:|")
    for jobs in options.jobs:
        for title, mended, profile in map(CASES.__getitem__, options.cases):
            seconds, clock, threads = measure(jobs, mended, profile)
            times = f"{seconds:.1f} | {1e3 * seconds / jobs:.0f} | {seconds / clock:.0%}"
            print(f"| {jobs:,} | {title} | {times} | {threads} |", flush=True)


if __name__ == "__main__":
    main()

"""Snakemake starts timers without end, and rules/scheduler.smk prevents it; see docs/snakemake_timers.md."""

import re
import subprocess
import time

import pytest
import snakemake

from .conftest import BIN, ROOT

pytestmark = pytest.mark.workflow

RULES = ROOT / "rules" / "scheduler.smk"
JOBS = 15


def reproduction():
    """The Snakefile of the report."""
    text = (ROOT / "docs" / "snakemake_timers.md").read_text()
    return next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "rule all" in block)


def timers(folder, snakefile, *options):
    """The timers that a run of `JOBS` jobs started, and the seconds that it took."""
    (folder / "Snakefile").write_text(snakefile)
    command = [BIN / "snakemake", "--cores", "4", "--config", f"jobs={JOBS}", *options]
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(re.search(r"(\d+) timers", done.stdout)[1]), time.monotonic() - start


def test_snakemake_still_has_the_fault(tmp_path):
    started, _ = timers(tmp_path, reproduction())
    assert started > JOBS / 2, (
        f"Snakemake {snakemake.__version__} started {started} timers in {JOBS} jobs: if it no longer starts "
        f"one after each pass, delete rules/scheduler.smk, this test and docs/snakemake_timers.md"
    )


def test_no_timer_starts_below_the_limit(tmp_path):
    started, _ = timers(tmp_path, f"include: {str(RULES)!r}\n{reproduction()}")
    assert started == 0, (
        f"rules/scheduler.smk has no effect on Snakemake {snakemake.__version__}: is it newer than the "
        f"version that the file names? Then read its scheduler, and raise the version."
    )


def test_the_limit_still_holds_with_one_timer_a_timespan(tmp_path):
    options = ("--max-jobs-per-timespan", "5/1s", "--cores", "15")
    started, seconds = timers(tmp_path, f"include: {str(RULES)!r}\n{reproduction()}", *options)
    # 15 jobs, 5 in each timespan: the scheduler waits twice, and a pass may come just before a slot is free.
    assert seconds > 2
    assert 2 <= started <= 5

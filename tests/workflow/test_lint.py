"""Lint and format checks, as `make lint` runs them."""

import subprocess
from pathlib import Path

import pytest

from .conftest import BIN, ROOT

CHECKS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "snakefmt": ["snakefmt", "--check", "Snakefile", "rules"],
    "snakemake lint": ["snakemake", "--lint"],
    "mypy": ["mypy"],
    "config/README.md": ["plumbline", "keys", "--check", "--output", "config/README.md"],
}


def test_every_job_runs_the_library_of_this_clone():
    """A rule that calls plain `plumbline` runs whatever version its environment has, or none."""
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert rules.count("    shell:\n") == rules.count("{params.plumbline} ")


@pytest.mark.parametrize("check", CHECKS)
def test_lint(check):
    program, *arguments = CHECKS[check]
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(
        [str(BIN / program), *arguments], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

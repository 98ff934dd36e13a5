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


@pytest.mark.parametrize("check", CHECKS)
def test_lint(check):
    program, *arguments = CHECKS[check]
    environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run(
        [str(BIN / program), *arguments], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

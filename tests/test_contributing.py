"""The example of CONTRIBUTING.md works as printed: a kind, its test and its study."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```(?:python|yaml)\n# (?P<path>\S+)\n(?P<text>.*?)```", re.DOTALL)
LOAD = "from plumbline.study import load_study; load_study({path!r}, 'smoke')"


@pytest.fixture
def copy(tmp_path):
    """The library, studies and tests of samplers, plus the blocks of CONTRIBUTING.md at their paths."""
    for folder in ("pipeline_src", "config", "rules", "tests/samplers"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    blocks = list(BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text()))
    for block in blocks:
        path = tmp_path / block["path"]
        before = path.read_text() + "\n\n" if path.exists() else ""
        path.write_text(before + block["text"])
    return tmp_path, [block["path"] for block in blocks]


def run(folder, *command):
    environment = os.environ | {"PYTHONPATH": str(folder / "pipeline_src")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_the_example_works(copy):
    folder, (kind, test, study) = copy
    assert "1 passed" in run(folder, "-m", "pytest", "-q", "--import-mode=importlib", test, "-k", "midpoint")
    run(folder, "-c", LOAD.format(path=study))
    run(folder, "-m", "plumbline.cli", "keys", "--output", "config/README.md")
    assert "### `midpoint`" in (folder / "config" / "README.md").read_text()
    ruff = Path(sys.executable).parent / "ruff"
    for check in (("check",), ("format", "--check")):
        found = subprocess.run(
            [ruff, *check, "--config", ROOT / "pyproject.toml", kind, test], cwd=folder, capture_output=True
        )
        assert found.returncode == 0, found.stdout.decode() + found.stderr.decode()

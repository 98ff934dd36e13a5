"""A copy of the workflow in its own folder, and real Snakemake runs in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Workflow:
    """The workflow with a copy of its configuration that a test may edit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("Snakefile", "rules", "config", "profiles", "envs", "docs", "pipeline_src"):
            source = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            (
                shutil.copytree(source, folder / name, ignore=ignored)
                if source.is_dir()
                else shutil.copy(source, folder)
            )

    def snakemake(
        self, *arguments: str, check: bool = True, within: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs Snakemake in the workflow's folder or another one, with extra environment variables."""
        environment = os.environ | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "pipeline_src"),
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            **variables,
        }
        done = subprocess.run(
            [str(BIN / "snakemake"), *arguments],
            cwd=within or self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        if check:
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    return Workflow(tmp_path_factory.mktemp("workflow"))

"""A project outside the clone, on a built wheel: begun, run, edited, broken, and without its plug-ins."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.workflow.conftest import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The library as a wheel installs it."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def project(site, tmp_path_factory):
    """The folder that `plumbline init` made, at the smallest scale, run once."""
    folder = tmp_path_factory.mktemp("outside") / "mine"
    plumbline(site, folder.parent, "init", str(folder))
    file = folder / "config" / "config.yaml"
    file.write_text(file.read_text().replace("scale: laptop", "scale: smoke"))
    plumbline(site, folder, "run", "--cores", "2")
    return folder


def plumbline(site: Path, folder: Path, *arguments: str, code: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "plumbline.cli", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout + done.stderr


def planned(site: Path, project: Path) -> dict[str, int]:
    """The number of jobs of each rule that a run would repeat."""
    said = plumbline(site, project, "run", "--cores", "1", "--", "--dry-run")
    table = said.rpartition("Job stats:")[2].split("\n\n")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_it_runs_to_a_report_and_then_has_nothing_to_do(site, project):
    assert "on_circle" in plumbline(site, project, "kinds", "constraints")
    assert "angle_wasserstein" in (project / "results" / "report.html").read_text()
    assert planned(site, project) == {}
    assert "use every dataset and model" in plumbline(site, project, "prune", "--yes")


def test_only_what_used_an_edited_file_runs_again(site, project):
    constraints, metrics = project / "constraints.py", project / "metrics.py"
    before = constraints.read_text(), metrics.read_text()
    metrics.write_text(before[1].replace('"rad"', '"radian"'))
    # Three methods and real data are evaluated again, and nothing is drawn.
    assert planned(site, project) == {"evaluate": 4, "compare": 1, "report": 1, "all": 1, "total": 7}
    metrics.write_text(before[1])
    constraints.write_text(before[0].replace("- self.radius", "- 1.0 * self.radius"))
    # Two of the methods use the constraint; no model is trained again.
    assert planned(site, project) == {
        "sample": 2,
        "evaluate": 4,
        "compare": 1,
        "report": 1,
        "all": 1,
        "total": 9,
    }
    constraints.write_text(before[0])
    assert planned(site, project) == {}


def test_a_broken_plugin_stops_the_run_with_its_line(site, project):
    file = project / "constraints.py"
    text = file.read_text()
    file.write_text(text.replace("return OnCircle(self.radius)", "return OnCircle(self.radius"))
    said = plumbline(site, project, "run", "--cores", "1", code=1)
    file.write_text(text)
    line = text[: text.index("return OnCircle(self.radius)")].count("\n") + 1
    assert f"constraints.py, line {line}: '(' was never closed" in said
    assert "Traceback" not in said


def test_results_open_without_the_plugins(site, project, tmp_path):
    moved = tmp_path / "example" / "comparison.zarr"
    moved.parent.mkdir()
    (project / "results" / "example" / "comparison.zarr").rename(moved)
    page = tmp_path / "report.html"
    plumbline(site, tmp_path, "stage", "report", "--comparisons", str(moved), "--output", str(page))
    assert "angle_wasserstein" in page.read_text() and "final_projection" in page.read_text()
    assert "angle" in plumbline(site, tmp_path, "table", str(moved.parent))

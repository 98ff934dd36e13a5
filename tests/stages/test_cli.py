"""The command line: errors in one line, tracebacks in the log, bad input reported by name."""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from plumbline.cli import _parser, main
from plumbline.datasets.gaussian import GaussianSpec
from plumbline.extras import EXTRAS
from plumbline.plan import Plan
from plumbline.study import load_study
from plumbline.workflow_files import library_studies

ROOT = Path(__file__).parents[2]
SPEC = GaussianSpec(parts=1, splits={"train": 8, "validation": 2, "test": 2}).canonical()


def test_generate_then_a_broken_part(tmp_path, capsys):
    part = tmp_path / "part-0000.zarr"
    assert main(["stage", "generate", "--spec", SPEC, "--part", "0", "--output", str(part)]) == 0
    (part / "zarr.json").write_text("{")
    log = tmp_path / "job.log"
    slices = json.dumps(
        {
            "metrics": {},
            "constraints": {},
            "models": {},
            "samples": {"count": 2, "parts": 1},
            "memory": 2.0,
        }
    )
    code = main(
        ["stage", "evaluate", "--spec", slices, "--seed", "0", "--dataset", str(part), "--output",
         str(tmp_path / "m.zarr"),
         "--log", str(log)]
    )  # fmt: skip
    said = capsys.readouterr().err
    assert code == 1
    assert "CorruptStoreError" in said
    assert "Traceback" not in said
    assert "Traceback" in log.read_text()
    assert not (tmp_path / "m.zarr").exists()


def test_a_missing_model_is_named(tmp_path, capsys):
    part = tmp_path / "part-0000.zarr"
    main(["stage", "generate", "--spec", SPEC, "--part", "0", "--output", str(part)])
    sample = json.dumps(
        {
            "method": {"model": "m", "sampler": {"kind": "ddpm"}},
            "drawn_from": ["m"],
            "constraints": {},
            "models": {},
            "constraint_models": {},
            "observation": None,
            "samples": {"count": 2, "parts": 1},
        }
    )
    code = main(
        ["stage", "sample", "--spec", sample, "--seed", "0", "--part", "0", "--dataset", str(part),
         "--model", str(tmp_path / "nowhere"), "--output", str(tmp_path / "s.zarr")]
    )  # fmt: skip
    assert code == 1
    assert "nowhere/model.json cannot be read" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    for group, names in (
        ([], ("init", "check", "kinds", "run", "show", "table", "import", "export", "prune", "stage")),
        (["stage"], ("generate", "rehearse", "train", "sample", "evaluate", "compare", "report")),
    ):
        with pytest.raises(SystemExit):
            main([*group, "--help"])
        said = capsys.readouterr().out
        assert all(re.search(rf"^    {name} ", said, re.MULTILINE) for name in names)


def test_every_option_has_a_help_text():
    unexplained = []
    parsers = [("plumbline", _parser())]
    while parsers:
        name, parser = parsers.pop()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += [(f"{name} {command}", below) for command, below in action.choices.items()]
            elif not action.help:
                unexplained.append(f"{name} {action.dest}")
    assert unexplained == []


def test_check_lists_what_a_study_runs(capsys):
    assert main(["check", "gaussian", "--scale", "smoke"]) == 0
    said = capsys.readouterr().out
    assert "linear_equality" in said and "1 trainings" in said
    assert main(["check", "gausian"]) == 1
    assert "did you mean 'gaussian'?" in capsys.readouterr().err


def test_kinds_are_listed_and_explained(capsys):
    assert main(["kinds"]) == 0
    assert main(["kinds", "samplers"]) == 0
    assert main(["kinds", "samplers", "heun"]) == 0
    said = capsys.readouterr().out
    assert "final_projection" in said and "steps: integer" in said
    assert main(["kinds", "sampler"]) == 1 and main(["kinds", "samplers", "huen"]) == 1
    said = capsys.readouterr().err
    assert "did you mean 'samplers'?" in said and "did you mean 'heun'?" in said


def test_init_writes_nothing_over(tmp_path, capsys):
    assert main(["init", str(tmp_path / "mine")]) == 0
    before = {file: file.read_text() for file in (tmp_path / "mine").rglob("*") if file.is_file()}
    assert tmp_path / "mine" / ".gitignore" in before
    (tmp_path / "mine" / "metrics.py").write_text("mine")
    assert main(["init", str(tmp_path / "mine")]) == 1
    assert "already there: " in capsys.readouterr().err
    assert (tmp_path / "mine" / "metrics.py").read_text() == "mine"


def test_prune_deletes_what_no_study_uses_and_asks_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("studies: [gaussian]\nscale: smoke\n")
    plan = Plan(load_study(library_studies() / "gaussian.yaml", "smoke"), Path("results"))
    used = [plan.dataset_parts()[0].parent, plan.model_folder("gaussian", 0).parent]
    unused = [Path("results/data/gaussian-0123456789"), Path("results/models/gaussian-0123456789")]
    for folder in (*used, *unused):
        folder.mkdir(parents=True)
        (folder / "content").write_bytes(bytes(1000))
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert main(["prune"]) == 0 and all(folder.exists() for folder in unused)
    assert main(["prune", "--yes"]) == 0
    assert all(folder.exists() for folder in used) and not any(folder.exists() for folder in unused)
    assert "Deleted 2 folders." in capsys.readouterr().out


def test_a_missing_package_is_named_with_its_extra(monkeypatch, capsys):
    def without_cantera(_):
        raise ModuleNotFoundError("No module named 'cantera'", name="cantera")

    monkeypatch.setattr("plumbline.stages._commands._generate", without_cantera)
    assert main(["stage", "generate", "--spec", "{}", "--part", "0", "--output", "x.zarr"]) == 1
    said = capsys.readouterr().err
    assert "the package cantera is not installed: run `pip install 'plumbline[chemistry]'`" in said
    assert "Traceback" not in said


def test_every_package_that_the_core_lacks_has_an_extra():
    """What pyproject.toml lists as an extra, and no other, is what the message names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    imported = {
        "PIL": "pillow",
        "sklearn": "scikit-learn",
        "lightning_fabric": "lightning-fabric",
    }
    for package, extra in EXTRAS.items():
        listed = [re.split(r"[<>=\[]", one)[0] for one in project["optional-dependencies"][extra]]
        assert imported.get(package, package) in listed


@pytest.mark.slow
@pytest.mark.parametrize("room", ["constraint", "sampler", "metric", "dataset"])
def test_templates_of_kinds_pass_their_tests_as_plugins(room, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", room, "energy_balance"]) == 0
    tests = [sys.executable, "-m", "pytest", "-q", "test_energy_balance.py"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "pipeline_src")}
    done = subprocess.run(tests, env=environment, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout[-2000:]
    assert main(["kinds", f"{room}s", "energy_balance", "--plugins", "energy_balance.py"]) == 0
    assert "energy_balance:" in capsys.readouterr().out
    assert main(["new", room, "energy_balance"]) == 1 and main(["new", room, "Energy"]) == 1
    said = capsys.readouterr().err
    assert "exist already" in said and "a kind is named by lower-case letters" in said


def test_kinds_of_the_plugins_of_all_studies_are_listed(tmp_path, monkeypatch, capsys):
    """Without reading the data of the studies, which is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "studies").mkdir(parents=True)
    (tmp_path / "config" / "config.yaml").write_text("studies: [one, two]\n")
    for name in ("one", "two"):
        assert main(["new", "metric", f"metric_{name}"]) == 0
        (tmp_path / "config" / "studies" / f"{name}.yaml").write_text(
            f"extends: budget_shares\ntitle: T\ndescription: D\nplugins: [metric_{name}.py]\n"
        )
    assert main(["kinds", "metrics"]) == 0
    said = capsys.readouterr().out
    assert "metric_one" in said and "metric_two" in said

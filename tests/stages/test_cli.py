"""The command line: errors in one line, tracebacks in the log, bad input named."""

import json

import pytest

from plumbline.cli import main
from plumbline.datasets.gaussian import GaussianSpec

SPEC = GaussianSpec(parts=1, splits={"train": 8, "validation": 2, "test": 2}).canonical()


def test_generate_then_a_broken_part(tmp_path, capsys):
    part = tmp_path / "part-0000.zarr"
    assert main(["generate", "--spec", SPEC, "--part", "0", "--output", str(part)]) == 0
    (part / "zarr.json").write_text("{")
    log = tmp_path / "job.log"
    slices = json.dumps(
        {
            "metrics": {},
            "constraints": {},
            "models": {},
            "samples": {"count": 2, "parts": 1},
        }
    )
    code = main(
        ["evaluate", "--spec", slices, "--seed", "0", "--dataset", str(part), "--output", str(tmp_path / "m.zarr"),
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
    main(["generate", "--spec", SPEC, "--part", "0", "--output", str(part)])
    sample = json.dumps(
        {
            "method": {"model": "m", "sampler": {"kind": "ddpm"}},
            "constraints": {},
            "models": {},
            "constraint_models": {},
            "samples": {"count": 2, "parts": 1},
        }
    )
    code = main(
        ["sample", "--spec", sample, "--seed", "0", "--part", "0", "--dataset", str(part),
         "--model", str(tmp_path / "nowhere"), "--output", str(tmp_path / "s.zarr")]
    )  # fmt: skip
    assert code == 1
    assert "nowhere/model.json cannot be read" in capsys.readouterr().err


def test_help_names_every_stage(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(
        stage in said for stage in ("generate", "train", "sample", "evaluate", "compare", "report", "export")
    )

"""The first Python of README.md runs and does what its comment says."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_first_lines_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    names = {}
    exec(code, names)
    assert "conditioned_tweedie" in capsys.readouterr().out
    torch.testing.assert_close(names["x"].sum(1), torch.full((64,), 2.0), rtol=0, atol=1e-5)

"""The declared shapes and types hold: the numerical tests once more, with every call checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_declared_shapes_hold():
    folders = [
        str(TESTS / name)
        for name in ("solvers", "constraints", "distributions", "networks", "models", "observations")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not rejects", "-p", "no:cacheprovider", *folders],
        env=os.environ | {"PLUMBLINE_CHECK_SHAPES": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:]

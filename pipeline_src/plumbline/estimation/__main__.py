"""Estimates the studies that are given as JSON, one a line, on standard input.

Usage: python -m plumbline.estimation FOLDER PARENT. The estimate of each study is written to FOLDER as soon
as it is complete, in a file named after the digest of its line. The process ends with the one that started
it, whose number is PARENT.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import torch

from plumbline.estimates import remember
from plumbline.estimation import estimate_study
from plumbline.spec import digest
from plumbline.study import Study

PR_SET_PDEATHSIG = 1
"""Option of prctl: the signal when the parent ends."""

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(sys.argv[2]):  # it ended before the line above
            sys.exit(1)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for line in filter(None, sys.stdin.read().splitlines()):
        remember(estimate_study(Study.model_validate_json(line)), folder / f"{digest(line)}.json")

"""Estimates the studies that are given as JSON, one a line, on standard input.

Usage: python -m plumbline.estimation FOLDER. The estimate of each study is written to FOLDER as soon as it is
complete, in a file named after the digest of its line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from plumbline.estimates import remember
from plumbline.estimation import estimate_study
from plumbline.spec import digest
from plumbline.study import Study

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for line in filter(None, sys.stdin.read().splitlines()):
        remember(estimate_study(Study.model_validate_json(line)), folder / f"{digest(line)}.json")

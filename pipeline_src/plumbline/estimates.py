"""Estimates: the work, memory and disk space of every job of a study, and the file that keeps them.

`plumbline.estimation` computes an estimate with torch. This module needs no torch, so that the Snakefile can
read estimates as it loads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from plumbline.storage.partial import replace_text

VERSION = 4
"""Raised whenever estimates change; files of other versions are computed anew."""
FOLDER = Path(".snakemake") / "plumbline" / "estimates"
"""The folder in which estimates are remembered, in the folder of a run."""


class Work(NamedTuple):
    """What a computation does, apart from the machine that it runs on.

    Attributes:
        operations: number of tensor operations, each of which costs time however small its tensors are.
        flops: floating-point operations of matrix products, convolutions, factorisations and FFTs.
        bytes: bytes that all operations read and write.
        seconds: CPU time on the machine of the estimate, for what is not done with tensors.
    """

    operations: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def plus(self, other: Work) -> Work:
        """Both, one after the other."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> Work:
        """The work repeated `factor` times; negative factors serve differences."""
        return Work(*(factor * value for value in self))


NOTHING = Work()
"""No work."""


@dataclass(frozen=True)
class JobEstimate:
    """The estimate of one job.

    Attributes:
        work: everything that the job computes.
        memory: peak of its memory in bytes, without that of Python and its libraries.
        disk: size of its outputs in bytes.
        parameters: number of trained parameters of a model.
        steps: number of optimiser steps of a training.
        flops_per_step: floating-point operations of one optimiser step over a whole batch.
        network_evaluations: forward passes that a batch of samples takes.
        note: how it was determined, if not on fake tensors.
        unknown: why it could not be determined; empty if it could.
    """

    work: Work = NOTHING
    memory: float = 0.0
    disk: float = 0.0
    parameters: int = 0
    steps: int = 0
    flops_per_step: float = 0.0
    network_evaluations: float = 0.0
    note: str = ""
    unknown: str = ""


def job(stage: str, name: str = "") -> str:
    """The key of a job in an estimate: its stage, and the model or method that it is for."""
    return f"{stage}/{name}" if name else stage


@dataclass(frozen=True)
class StudyEstimate:
    """The estimates of a study's jobs; the parts and seeds of one stage are alike.

    Attributes:
        jobs: the estimates, by the key that `job` makes.
        problem: why nothing could be estimated; empty if it could.
    """

    jobs: dict[str, JobEstimate] = field(default_factory=dict)
    problem: str = ""

    def of(self, stage: str, name: str = "") -> JobEstimate | None:
        """The estimate of a job; None if there is none."""
        return self.jobs.get(job(stage, name))

    def unknown(self) -> Iterator[str]:
        """The jobs that could not be estimated, with the reason of each."""
        for name, one in self.jobs.items():
            if one.unknown:
                yield f"{name}: {one.unknown}"


def remembered(file: Path) -> StudyEstimate | None:
    """Reads an estimate; None if the file does not exist, or another version wrote it."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["version"] != VERSION:
            return None
        jobs = {
            name: JobEstimate(**{**one, "work": Work(*one["work"])}) for name, one in values["jobs"].items()
        }
        return StudyEstimate(jobs, values["problem"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def remember(estimate: StudyEstimate, file: Path) -> None:
    """Writes an estimate, under a temporary name first."""
    values = {
        "version": VERSION,
        "problem": estimate.problem,
        "jobs": {name: asdict(one) for name, one in estimate.jobs.items()},
    }
    replace_text(file, json.dumps(values, indent=1))

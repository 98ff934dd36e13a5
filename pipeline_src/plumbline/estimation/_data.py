"""The first samples of a dataset, and the time that its parts take to draw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from plumbline.datasets import DatasetSpec
from plumbline.input_files import ReadsFiles

COUNTS = (2, 8, 32, 128)
"""Numbers of samples that are drawn, one after the other, until it takes too long or the part has no more."""
LONG_ENOUGH = 0.5
"""Seconds of a drawing after which no larger number is drawn."""


class MissingDataError(RuntimeError):
    """The files of a dataset are not there, so that nothing is known of its samples."""


@dataclass(frozen=True)
class FewSamples:
    """The first samples of a dataset.

    Attributes:
        samples: the samples, with the variable `state`.
        seconds: CPU time of drawing one part.
        bytes: size of one sample with all its variables.
    """

    samples: xr.Dataset
    seconds: float
    bytes: float


def first_samples(spec: DatasetSpec) -> FewSamples:
    """Draws the first samples of a dataset, and extrapolates the time of a part from them.

    Raises:
        MissingDataError: a file of the dataset is missing or remote.
    """
    if isinstance(spec, ReadsFiles):
        for file in spec.input_files():
            if "://" in file.path:
                raise MissingDataError(f"{file.path} is remote; it is not read for an estimate.")
            if not Path(file.path).exists():
                raise MissingDataError(f"{file.path} does not exist yet; it should be {file.what}.")
    part = -(-spec.splits.total // spec.parts)
    names = spec.splits.names()
    spent: list[tuple[int, float]] = []
    for count in sorted({min(count, part) for count in COUNTS}):
        started = time.process_time()
        drawn = spec.draw(np.arange(count), names[:count])
        spent.append((count, time.process_time() - started))
        if spent[-1][1] > LONG_ENOUGH and len(spent) > 1:
            break
    (fewer, before), (count, seconds) = spent[-2:] if len(spent) > 1 else ((0, 0.0), spent[0])
    each = max(0.0, seconds - before) / (count - fewer)
    per_sample = [v for v in drawn.data_vars.values() if v.dims[:1] == ("sample",)]
    return FewSamples(
        drawn.assign_coords(sample=np.arange(count), split=("sample", names[:count].astype("<U10"))),
        seconds + each * (part - count),
        sum(v.nbytes for v in per_sample) / count,
    )

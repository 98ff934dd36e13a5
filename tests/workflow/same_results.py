"""Whether two folders of results agree in everything but times and provenance."""

import csv
from pathlib import Path

import numpy as np
import torch

from plumbline.storage.store import load_store

CLOCKS = ("time", "seconds", "steps_per_second", "samples_per_second")
"""Parts of the names of columns and variables that say how long something took."""


def differences(whole: Path, cut: Path) -> list[str]:
    """The differences between two folders of results, except times and provenance."""
    found = []
    for path in sorted(whole.rglob("zarr.json")):
        if path.parent.suffix != ".zarr":
            continue
        name = path.parent.relative_to(whole)
        one, other = load_store(path.parent), load_store(cut / name)
        if set(one.variables) != set(other.variables):
            found.append(f"{name}: other variables")
        for key in set(one.variables) & set(other.variables):
            a, b = one[key].values, other[key].values
            if not any(clock in str(key) for clock in CLOCKS) and not (
                np.array_equal(a, b, equal_nan=True) if a.dtype.kind == "f" else np.array_equal(a, b)
            ):
                found.append(f"{name}: {key}")
    for path in sorted(whole.rglob("weights.pt")):
        name = path.relative_to(whole)
        one, other = (torch.load(folder / name, weights_only=True) for folder in (whole, cut))
        if not all(torch.equal(one[key], other[key]) for key in one):
            found.append(f"{name}: weights")
    for path in sorted(whole.rglob("training_log.csv")):
        name = path.relative_to(whole)
        rows = [list(csv.DictReader((folder / name).open())) for folder in (whole, cut)]
        contents = [
            [{k: v for k, v in row.items() if not any(c in k for c in CLOCKS)} for row in log] for log in rows
        ]
        if contents[0] != contents[1]:
            found.append(f"{name}: steps")
    left = [
        path
        for path in cut.rglob("*")
        if path.name.endswith((".partial", ".retired", "state.pt", ".writer", ".stale"))
    ]
    return [*found, *(f"left over: {path.relative_to(cut)}" for path in left)]

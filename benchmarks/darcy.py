"""Darcy flow between two wells: time and residual of a sample, by grid.

The published data of this problem is the least-squares solution of a dense, overdetermined system. The last
column is the time of NumPy's dense least squares for the finite volumes and the mean pressure, over that of a
sample, on small grids.

    python benchmarks/darcy.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from plumbline.constraints import DarcyResidualSpec
from plumbline.datasets import DarcyWellsSpec
from plumbline.solvers import darcy

COUNT = 64
LARGEST_DENSE = 32
COLUMNS = (
    "cells", "terms, CPU s", "sample, CPU ms", "projection, CPU ms",
    "violation in float64", "of the data", "dense / sparse",
)  # fmt: skip


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    row(1)  # imports
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for width in (1, 2, 4, 8, 16):
        print(f"| {' | '.join(row(width))} |")


def row(width: int) -> tuple[str, ...]:
    """The columns for a grid whose wells are `width` cells wide."""
    points = 8 * width
    spec = DarcyWellsSpec(points=points, splits={"train": COUNT, "validation": 2, "test": 2})
    indices, names = np.arange(COUNT), np.repeat("train", COUNT)
    first = seconds(lambda: spec.draw(indices[:1], names[:1]))
    each = seconds(lambda: spec.draw(indices, names)) / COUNT
    data = spec.draw(indices, names)
    constraint = DarcyResidualSpec().build(data)
    state, source = torch.as_tensor(data["state"].values), data["source"].values
    projection = seconds(lambda: constraint.project(state)) / COUNT
    permeability = data["state"].values[:, 0].astype(np.float64)
    exact = np.stack([permeability, darcy.solve_without_flux(permeability, source)], axis=1)
    violations = (float(constraint.violation(x).max()) for x in (torch.as_tensor(exact), state))
    return (
        f"{points} x {points}",
        f"{first:.2g}",
        f"{1e3 * each:.2g}",
        f"{1e3 * projection:.2g}",
        *(f"{violation:.1e}" for violation in violations),
        f"{dense(permeability[0], source) / each:.0f}" if points <= LARGEST_DENSE else "",
    )


def dense(permeability: np.ndarray, source: np.ndarray) -> float:
    """CPU seconds of the dense least-squares solution."""
    matrix = darcy.matrix_without_flux(permeability).toarray()
    rows = np.concatenate([matrix, np.full((1, len(matrix)), 1 / len(matrix))])
    target = np.append(source.ravel(), 0.0)
    return seconds(lambda: np.linalg.lstsq(rows, target, rcond=None))


def seconds(task: Callable[[], object]) -> float:
    """CPU seconds of a task."""
    start = time.process_time()
    task()
    return time.process_time() - start


if __name__ == "__main__":
    main()

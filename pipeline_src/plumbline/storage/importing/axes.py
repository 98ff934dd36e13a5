"""Identification of the axes of an array from the lengths of the coordinates.

PDEBench's order (sample, time, x, y, z) is used if it matches the lengths. Otherwise other orders are tried:
channels last, an additional axis of length one, channels before the grid, and permutations of time and
directions. If exactly one order matches, it is used. If several match, the caller refuses the file and names
the option that resolves this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

import numpy as np

from plumbline.datasets._download import DataFileError

SPACE = ("x", "y", "z")
CANONICAL = ("sample", "time", *SPACE)
DROPPED = "_"
"""Name of an axis of length one that is removed."""


def name_axes(
    shape: tuple[int, ...], lengths: dict[str, int], order: tuple[str, ...] = SPACE, time_longer: bool = False
) -> tuple[str, ...] | None:
    """The dimension of each axis of an array; None if no order or several orders match.

    Args:
        shape: shape of the array.
        lengths: lengths of the coordinates, by dimension; the array must have all of these dimensions.
        order: usual order of the directions of space.
        time_longer: whether the coordinate `time` may have one value more than there are states, as in
            PDEBench.
    """
    dims = tuple(d for d in ("time", *order) if d in lengths)
    for group in _orders(dims, len(shape)):
        fitting = {names for names in group if _fits(names, shape, lengths, time_longer)}
        if fitting:
            return fitting.pop() if len(fitting) == 1 else None
    return None


def _orders(dims: tuple[str, ...], axes: int) -> Iterator[Iterable[tuple[str, ...]]]:
    """Orders of the axes in groups, the most usual first."""
    usual = ("sample", *dims)
    others = [("sample", *order) for order in permutations(dims)][1:]
    if axes == len(usual):
        yield [usual]
        yield others
        yield [order for order in permutations(usual) if order[0] != "sample"]
    # Without a time coordinate, an unexplained axis may be either time or channels.
    timed = "time" in dims
    if axes == len(usual) + 1:
        yield [(*usual, "channel")] if timed else []
        yield _with(usual, DROPPED)
        if timed:
            yield [order for order in _with(usual, "channel") if order[0] == "sample"]
            yield [(*order, "channel") for order in others]
    if axes == len(usual) + 2 and timed:
        yield _with((*usual, "channel"), DROPPED)


def _with(names: tuple[str, ...], extra: str) -> list[tuple[str, ...]]:
    return [(*names[:i], extra, *names[i:]) for i in range(len(names) + 1)]


def _fits(names: tuple[str, ...], shape: tuple[int, ...], lengths: dict[str, int], time_longer: bool) -> bool:
    for name, length in zip(names, shape, strict=True):
        if name == DROPPED and length != 1:
            return False
        if name in lengths and length != lengths[name]:
            longer = time_longer and name == "time" and length == lengths[name] - 1
            if not longer:
                return False
    return True


def along_one_axis(values: np.ndarray, what: str, dim: str) -> tuple[np.ndarray, int | None]:
    """A coordinate as a one-dimensional array, and the axis along which it varies; None if it has one axis.

    Meshgrids, and coordinates that are repeated for each sample, are reduced to one axis.

    Args:
        values: the coordinate.
        what: description of the coordinate, at the beginning of error messages.
        dim: dimension of the coordinate, for error messages.

    Raises:
        DataFileError: the coordinate is empty, does not contain numbers or dates, or varies along several
            axes.
    """
    if values.dtype.kind not in "iufMm":
        raise DataFileError(
            f"{what} holds {values.dtype}, expected numbers. Leave it out with `--coordinate {dim}=`."
        )
    if not values.size:
        raise DataFileError(f"{what} is empty. Leave it out with `--coordinate {dim}=`.")
    if values.ndim <= 1:
        return np.atleast_1d(values), None
    varying = [axis for axis in range(values.ndim) if (np.diff(values, axis=axis) != 0).any()]
    if len(varying) > 1:
        raise DataFileError(
            f"{what} has the shape {values.shape} and varies along {len(varying)} of its axes, expected "
            f"variation along a single axis. Leave it out with `--coordinate {dim}=`, or correct it."
        )
    axis = varying[0] if varying else int(np.argmax(values.shape))
    line = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)[:, 0]
    return line, axis


def middles(edges: np.ndarray) -> np.ndarray:
    """The centres of cells (n,), from their edges (n + 1,)."""
    return (edges[1:] + edges[:-1]) / 2

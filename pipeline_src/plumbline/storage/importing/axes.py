"""Which dimension each axis of an array is, by the lengths of the coordinates beside it.

PDEBench's order is (sample, time, x, y, z). Where it fits the lengths, it is taken; where it does not, other orders are tried:
channels last, an axis of length one too many, channels before the grid, time and directions exchanged. A single one that fits is
taken. What several fit is refused, with the option that settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import permutations

import numpy as np

from plumbline.datasets._download import DataFileError

SPACE = ("x", "y", "z")
CANONICAL = ("sample", "time", *SPACE)
DROPPED = "_"
"""Name of an axis of length one that is left out."""


def name_axes(
    shape: tuple[int, ...], lengths: dict[str, int], order: tuple[str, ...] = SPACE, time_longer: bool = False
) -> tuple[str, ...] | None:
    """The dimension of each axis; None where no order fits, or where several fit equally.

    Args:
        shape: of the array.
        lengths: of the coordinates, by dimension; all of these are dimensions of the array.
        order: the directions of space as the layout orders them.
        time_longer: whether `time` may have one value more than there are states, as in PDEBench.
    """
    dims = tuple(d for d in ("time", *order) if d in lengths)
    for group in _orders(dims, len(shape)):
        fitting = {names for names in group if _fits(names, shape, lengths, time_longer)}
        if fitting:
            return fitting.pop() if len(fitting) == 1 else None
    return None


def _orders(dims: tuple[str, ...], axes: int) -> Iterator[Iterable[tuple[str, ...]]]:
    """Orders of the axes, in groups: an earlier group is more usual than a later one."""
    usual = ("sample", *dims)
    others = [("sample", *order) for order in permutations(dims)][1:]
    if axes == len(usual):
        yield [usual]
        yield others
        yield [order for order in permutations(usual) if order[0] != "sample"]
    # Without a coordinate of time, an axis that none explains may be time as well as channels.
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
    """A coordinate as one axis, and the axis that it varied along: meshgrids and copies a sample are reduced.

    Raises:
        DataFileError: it is empty, no number, or varies along more than one axis.
    """
    if values.dtype.kind not in "iufMm":
        raise DataFileError(
            f"{what} holds {values.dtype}, expected numbers. Leave it out by `--coordinate {dim}=`."
        )
    if not values.size:
        raise DataFileError(f"{what} is empty. Leave it out by `--coordinate {dim}=`.")
    if values.ndim <= 1:
        return np.atleast_1d(values), None
    varying = [axis for axis in range(values.ndim) if (np.diff(values, axis=axis) != 0).any()]
    if len(varying) > 1:
        raise DataFileError(
            f"{what} has the shape {values.shape} and varies along {len(varying)} of its axes, where a coordinate varies "
            f"along one. Leave it out by `--coordinate {dim}=`, or write one that does."
        )
    axis = varying[0] if varying else int(np.argmax(values.shape))
    line = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)[:, 0]
    return line, axis


def middles(edges: np.ndarray) -> np.ndarray:
    """The middles of cells, from their edges."""
    return (edges[1:] + edges[:-1]) / 2

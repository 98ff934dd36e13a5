"""Places of a sample selected by coordinate values, and the entries of a variable that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from plumbline.constraints._known import axes_of, unit_of, variable_of
from plumbline.coordinates import EQUAL_STEPS, CoordinateError


def places_of(
    example: xr.Dataset, where: Mapping[str, float | str | Sequence[float | str]], asker: str
) -> np.ndarray:
    """Mask (*S) of the places of a sample that lie at the given coordinate values.

    Args:
        example: samples with their coordinates.
        where: values by dimension; a dimension that is not named is selected along its whole length.
        asker: the constraint and the key, for messages.

    Raises:
        CoordinateError: samples lack a dimension, or a coordinate does not have the value.
    """
    state = example["state"]
    chosen = np.ones(state.shape[1:], dtype=bool)
    for (name, given), axis in zip(where.items(), axes_of(example, list(where), asker), strict=True):
        values = [given] if isinstance(given, int | float | str) else list(given)
        along = np.zeros(chosen.shape[axis], dtype=bool)
        for value in values:
            along[_index_of(example, name, value, asker)] = True
        chosen &= along.reshape([-1 if i == axis else 1 for i in range(chosen.ndim)])
    return chosen


def _index_of(example: xr.Dataset, name: str, value: float | str, asker: str) -> int:
    """The index of a coordinate value; the given index itself if the dimension has no coordinate."""
    size = example.sizes[name]
    if name not in example.coords:
        if isinstance(value, str) or value != int(value) or not 0 <= value < size:
            raise CoordinateError(
                f"{asker}: {name!r} has no coordinate and takes an index from 0 to {size - 1}, found "
                f"{value!r}."
            )
        return int(value)
    values = example[name].values
    if values.dtype.kind not in "fiu":
        labels = [str(label) for label in values]
        if str(value) not in labels:
            raise CoordinateError(f"{asker}: {name!r} has no {value!r}; it has {', '.join(labels[:20])}.")
        return labels.index(str(value))
    if isinstance(value, str):
        raise CoordinateError(f"{asker}: {name!r} has a numeric coordinate, found {value!r}: give a number.")
    numbers = values.astype(np.float64)
    apart = np.abs(numbers - value)
    nearest = int(apart.argmin())
    spacing = float(np.abs(np.diff(np.sort(numbers))).min()) if size > 1 else abs(float(value))
    rounding = float(np.finfo(np.float32).eps) * abs(float(value))
    if apart[nearest] > EQUAL_STEPS * max(spacing, rounding):
        raise CoordinateError(
            f"{asker}: {name!r} has no {value:g}; the nearest is {float(values[nearest]):.10g}, of {size} "
            f"values from {float(values.min()):g} to {float(values.max()):g}."
        )
    return nearest


def entries_at(example: xr.Dataset, name: str, places: np.ndarray, asker: str) -> tuple[bool, np.ndarray]:
    """Whether a variable has one entry per sample, and the flat index of the value for each place.

    Raises:
        ValueError: there is no such variable.
        CoordinateError: it has a dimension that samples lack, or whose length differs from theirs.
    """
    of_sample, numbers = _numbered(example, name, asker)
    state = example["state"][0]
    return of_sample, numbers.broadcast_like(state).transpose(*state.dims).values[places]


def entries_of_totals(
    example: xr.Dataset, name: str, over: Sequence[str], asker: str
) -> tuple[bool, np.ndarray]:
    """Whether a variable has one entry per sample, and the flat index of the value for each total.

    Raises:
        ValueError: there is no such variable.
        CoordinateError: it has a dimension that totals lack, or whose length differs from theirs.
    """
    of_sample, numbers = _numbered(example, name, asker)
    if summed := [str(d) for d in numbers.dims if d in over]:
        raise CoordinateError(
            f"{asker}: {name!r} has the dimension {summed[0]!r}, which the total goes over: give one value "
            "per total."
        )
    totals = example["state"][0].isel(dict.fromkeys(over, 0), drop=True)
    return of_sample, numbers.broadcast_like(totals).transpose(*totals.dims).values.flatten()


def _numbered(example: xr.Dataset, name: str, asker: str) -> tuple[bool, xr.DataArray]:
    """Whether a variable has one entry per sample, and the flat indices of the values of an entry."""
    variable = variable_of(example, name, asker)
    of_sample = variable.dims[:1] == ("sample",)
    dims, shape = (variable.dims[1:], variable.shape[1:]) if of_sample else (variable.dims, variable.shape)
    for dim, size in zip(dims, shape, strict=True):
        if dim not in example["state"].dims or example["state"].sizes[dim] != size:
            raise CoordinateError(
                f"{asker}: {name!r} has {size} entries along {dim!r}, and samples have "
                f"({', '.join(f'{d}: {n}' for d, n in list(example['state'].sizes.items())[1:])}): use "
                "dimensions of the samples."
            )
    return of_sample, xr.DataArray(np.arange(int(np.prod(shape))).reshape(shape), dims=dims)


def cell_sizes(example: xr.Dataset, over: Sequence[str], asker: str) -> tuple[np.ndarray, str]:
    """The cell sizes (*S), and the unit of totals.

    A cell extends halfway to its neighbours. At the ends of an axis it extends equally to both sides.

    Raises:
        CoordinateError: a dimension has no numeric coordinate with at least two values, or its coordinate is
            not monotonic.
    """
    state = example["state"]
    sizes, unit = np.ones([1] * (state.ndim - 1)), unit_of(example)
    for name, axis in zip(over, axes_of(example, over, asker), strict=True):
        values = np.asarray(example[name].values) if name in example.coords else np.zeros(0)
        if values.dtype.kind not in "fiu" or len(values) < 2:
            raise CoordinateError(
                f"{asker}: cell sizes need numbers as coordinate {name!r}, at least two: write them into the "
                "file, or omit `weights`."
            )
        steps = np.diff(values.astype(np.float64))
        if not ((steps > 0).all() or (steps < 0).all()):
            raise CoordinateError(
                f"{asker}: cell sizes need a coordinate {name!r} that increases or decreases throughout."
            )
        widths = np.abs(np.gradient(values.astype(np.float64)))
        sizes = sizes * widths.reshape([-1 if i == axis else 1 for i in range(sizes.ndim)])
        unit = f"{unit} {example[name].attrs.get('units', '1')}".removesuffix(" 1").removeprefix("1 ")
    return np.broadcast_to(sizes, state.shape[1:]).copy(), unit


def weights_of(example: xr.Dataset, name: str, asker: str) -> tuple[np.ndarray, str]:
    """The weights (*S) in a variable, and the unit of totals.

    Raises:
        ValueError: there is no such variable, or it has one entry per sample.
        CoordinateError: it has a dimension that samples lack, or whose length differs from theirs.
    """
    of_sample, _ = _numbered(example, name, asker)
    if of_sample:
        raise ValueError(f"{asker}: {name!r} must be the same for all samples, found one entry per sample.")
    state = example["state"][0]
    values = example[name].broadcast_like(state).transpose(*state.dims).values.astype(np.float64)
    unit = f"{unit_of(example)} {example[name].attrs.get('units', '1')}".removesuffix(" 1").removeprefix("1 ")
    return values, unit

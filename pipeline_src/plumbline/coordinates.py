"""What a constraint, attribute or metric asks of the coordinates of a dataset: dimensions, spacing, periods, attributes.

Each question is asked by name, before any training. An answer that the data does not give is an error that names what
asked, what was found, and the key of the study's dataset that supplies it (`stored` data has such keys).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

# Steps of an axis that differ by less than this fraction are equal: single precision, and decimals in text files.
EQUAL_STEPS = 1e-3


class CoordinateError(ValueError):
    """A dataset lacks a dimension, coordinate, period or attribute, or has one that does not fit."""


def require_dimensions(example: xr.Dataset, names: Sequence[str], asker: str, *, exactly: bool) -> None:
    """Checks the dimensions of `state` after `sample`.

    Args:
        example: samples with their coordinates.
        names: the dimensions, in order.
        asker: what needs them, for the message.
        exactly: whether they must be all; otherwise they must be the last ones.

    Raises:
        CoordinateError: others are there, or the same in another order.
    """
    found = tuple(str(d) for d in example["state"].dims[1:])
    wanted = tuple(names)
    if found == wanted or (not exactly and found[-len(wanted) :] == wanted):
        return
    ends = "" if exactly else "that end with "
    remedy = (
        f"set `dataset.dimensions` to [{', '.join(d for d in found if d not in wanted)}"
        f"{', ' if set(found) - set(wanted) else ''}{', '.join(wanted)}]"
        if set(wanted) <= set(found)
        else "name them so in the file, or set `dataset.rename`"
    )
    raise CoordinateError(
        f"{asker} needs samples with the dimensions {ends}({', '.join(wanted)}), found ({', '.join(found)}): {remedy}."
    )


def require_velocities(example: xr.Dataset, asker: str, *, before: Sequence[str] | None = None) -> None:
    """Checks that `state` holds velocities in the plane, (..., component, x, y) with two components.

    Args:
        example: samples with their coordinates.
        asker: what needs them, for the message.
        before: the dimensions between `sample` and `component`; None for any.

    Raises:
        CoordinateError: it holds something else.
    """
    require_dimensions(example, (*(before or ()), "component", "x", "y"), asker, exactly=before is not None)
    components = example.sizes["component"]
    if components != 2:
        raise CoordinateError(f"{asker} needs two components of a velocity, found {components}.")


def equal_spacing(example: xr.Dataset, dimension: str, asker: str) -> float:
    """The step of an equally spaced, increasing coordinate, in its own unit.

    Raises:
        CoordinateError: there is no such coordinate, it has one value, or its steps differ.
    """
    if dimension not in example.coords:
        raise CoordinateError(
            f"{asker} needs the coordinate {dimension!r} of the samples, and the data has none: write it into the "
            f"file."
        )
    values = np.asarray(example[dimension].values)
    if values.dtype.kind not in "fiu":
        raise CoordinateError(f"{asker} needs numbers as coordinate {dimension!r}, found {values.dtype}.")
    steps = np.diff(values.astype(np.float64))
    if not len(steps):
        raise CoordinateError(f"{asker} needs two values of {dimension!r} or more, found {len(values)}.")
    mean = float(steps.mean())
    if not mean > 0 or np.abs(steps - mean).max() > EQUAL_STEPS * mean:
        raise CoordinateError(
            f"{asker} needs equal, increasing steps of {dimension!r}, found steps from {steps.min():.6g} to "
            f"{steps.max():.6g}: interpolate the states to equal steps, or keep those that are equally spaced."
        )
    return float(values[1] - values[0])


def period(example: xr.Dataset, dimension: str, asker: str) -> float:
    """The period of a periodic coordinate, in its own unit.

    Raises:
        CoordinateError: it is not marked as periodic, or its points do not divide the period equally.
    """
    attrs = example[dimension].attrs if dimension in example.dims else {}
    if "period" not in attrs:
        raise CoordinateError(
            f"{asker} needs the period of {dimension!r}: give the coordinate the attribute `period`, or set "
            f"`dataset.periods.{dimension}`."
        )
    length = float(attrs["period"])
    points = example.sizes[dimension]
    if points > 1:
        step = equal_spacing(example, dimension, asker)
        if abs(points * step - length) > EQUAL_STEPS * length:
            raise CoordinateError(
                f"{asker}: the period of {dimension!r} is {length:.6g}, and its {points} points with steps of "
                f"{step:.6g} go round after {points * step:.6g}. Correct `dataset.periods.{dimension}`; where both "
                f"ends of the interval are points, leave one out."
            )
    return length


def equal_periods(example: xr.Dataset, dimensions: Sequence[str], asker: str) -> float:
    """The period that several coordinates share.

    Raises:
        CoordinateError: as `period` does, or the periods differ.
    """
    lengths = [period(example, dimension, asker) for dimension in dimensions]
    if not np.allclose(lengths, lengths[0], rtol=EQUAL_STEPS):
        shown = ", ".join(f"{d}: {length:.6g}" for d, length in zip(dimensions, lengths, strict=True))
        raise CoordinateError(f"{asker} needs one period in all directions, found {shown}.")
    return lengths[0]


def periodic_dimensions(example: xr.Dataset, asker: str) -> tuple[str, ...]:
    """The one or two periodic dimensions of `state`, which must be its last.

    Raises:
        CoordinateError: there is none, there are more than two, or others come after them.
    """
    dimensions = [str(d) for d in example["state"].dims[1:]]
    found = [d for d in dimensions if "period" in example[d].attrs]
    if not 1 <= len(found) <= 2:
        raise CoordinateError(
            f"{asker} needs one or two periodic directions, found {len(found)} among {', '.join(dimensions)}: mark "
            f"them by `dataset.periods`."
        )
    if dimensions[-len(found) :] != found:
        others = [d for d in dimensions if d not in found]
        raise CoordinateError(
            f"{asker} needs the periodic directions {', '.join(found)} as the last dimensions, found "
            f"({', '.join(dimensions)}): set `dataset.dimensions` to [{', '.join([*others, *found])}]."
        )
    for dimension in found:
        period(example, dimension, asker)
    return tuple(found)


def attribute(example: xr.Dataset, name: str, asker: str) -> float:
    """A number among the attributes of the dataset.

    Raises:
        CoordinateError: it is not there, or not a finite number.
    """
    if name not in example.attrs:
        raise CoordinateError(
            f"{asker} needs the attribute {name!r} of the dataset: write it into the file, or set "
            f"`dataset.attributes.{name}`."
        )
    try:
        value = float(example.attrs[name])
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise CoordinateError(
            f"{asker} needs a number as attribute {name!r} of the dataset, found {example.attrs[name]!r}."
        )
    return value

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


# Labels of velocities in the plane whose second is along x, and dimensions of pictures whose last are the rows.
SWAPPED_VELOCITIES = {
    ("v", "u"),
    ("vy", "vx"),
    ("y", "x"),
    ("u_y", "u_x"),
    ("velocity_y", "velocity_x"),
    ("uy", "ux"),
}
COLUMNS_FIRST = {("x", "y"), ("column", "row"), ("columns", "rows"), ("width", "height"), ("w", "h"), ("lon", "lat"),
                 ("longitude", "latitude")}  # fmt: skip


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
    labels = [str(label) for label in example["component"].values] if "component" in example.coords else []
    if tuple(label.casefold() for label in labels) in SWAPPED_VELOCITIES:
        raise CoordinateError(
            f"{asker} needs the velocity along x first and that along y second, found the components {', '.join(labels)}: "
            f"write them into the file in the other order."
        )


def require_rows_and_columns(example: xr.Dataset, asker: str) -> None:
    """Checks that the last two dimensions of `state` are the rows and columns of a picture, in this order, as far as their names say.

    Args:
        example: samples with their coordinates.
        asker: what needs them, for the message.

    Raises:
        CoordinateError: a sample has fewer dimensions, or they are named in the other order.
    """
    dims = [str(d) for d in example["state"].dims[1:]]
    if len(dims) < 2:
        raise CoordinateError(f"{asker} needs pictures, and samples are vectors ({', '.join(dims)}).")
    if tuple(d.casefold() for d in dims[-2:]) in COLUMNS_FIRST:
        wanted = [*dims[:-2], dims[-1], dims[-2]]
        raise CoordinateError(
            f"{asker} needs the rows of a picture before its columns, found ({', '.join(dims)}): set `dataset.dimensions` to "
            f"[{', '.join(wanted)}]."
        )


def along(variable: xr.DataArray, dimensions: Sequence[str]) -> xr.DataArray:
    """A variable with these dimensions as its last, transposed by name; as it is, where it does not have them all."""
    return variable.transpose(..., *dimensions) if set(dimensions) <= set(variable.dims) else variable


def require_last(variable: xr.DataArray, dimension: str, asker: str) -> None:
    """Checks that a dimension is the last one of a variable, if the variable has it.

    Raises:
        CoordinateError: it stands before others.
    """
    found = [str(d) for d in variable.dims]
    if dimension in found[:-1]:
        wanted = [*(d for d in found if d != dimension), dimension]
        raise CoordinateError(
            f"{asker} needs {dimension!r} as the last dimension of `{variable.name}`, found ({', '.join(found)}): write it as "
            f"({', '.join(wanted)})."
        )


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
    if not np.isfinite(values.astype(np.float64)).all():
        raise CoordinateError(f"{asker} needs finite numbers as coordinate {dimension!r}.")
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


def time_spacing(example: xr.Dataset, asker: str) -> float:
    """The step of equally spaced times, in the unit of time of the dataset's attributes.

    Raises:
        CoordinateError: as `equal_spacing` does, or the times were dates, and no one has said in which unit the equation takes
            them.
    """
    attrs = example["time"].attrs if "time" in example.coords else {}
    if "origin" in attrs and "time_unit" not in attrs:
        raise CoordinateError(
            f"{asker}: the times of the data are dates, and its attributes do not say in which unit of time they are. Set "
            f"`dataset.time_unit` to that unit: s, min, h or D."
        )
    return equal_spacing(example, "time", asker)


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
    length = attribute_value(attrs["period"])
    if not length > 0:
        raise CoordinateError(
            f"{asker} needs a positive number as period of {dimension!r}, found {attrs['period']!r}: correct the attribute "
            f"`period` of the coordinate."
        )
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
    value = attribute_value(example.attrs[name])
    if not np.isfinite(value):
        raise CoordinateError(
            f"{asker} needs a number as attribute {name!r} of the dataset, found {example.attrs[name]!r}."
        )
    return value


def positive_attribute(example: xr.Dataset, name: str, asker: str) -> float:
    """A positive number among the attributes of the dataset.

    Raises:
        CoordinateError: it is not there, or not a positive number.
    """
    value = attribute(example, name, asker)
    if not value > 0:
        raise CoordinateError(
            f"{asker} needs a positive number as attribute {name!r} of the dataset, found {value:g}."
        )
    return value


def whole_attribute(example: xr.Dataset, name: str, asker: str) -> int:
    """A whole number from one on among the attributes of the dataset.

    Raises:
        CoordinateError: it is not there, or not such a number.
    """
    value = attribute(example, name, asker)
    if value < 1 or value != int(value):
        raise CoordinateError(
            f"{asker} needs a whole number from 1 on as attribute {name!r} of the dataset, found {value:g}."
        )
    return int(value)


def attribute_value(value: object) -> float:
    """An attribute as a number; NaN where it is none, or not finite."""
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return float("nan")
    return number if np.isfinite(number) else float("nan")

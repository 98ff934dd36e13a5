"""Checks of dataset metadata that constraints, attributes and metrics need: dimensions, spacing, periods.

The checks run before any training. If the data lacks something, the error names the constraint, attribute or
metric that needs it, what was found, and the key of the study's dataset that sets it (datasets of the kind
`stored` have such keys).

All functions here take `asker`, the name of the constraint, attribute or metric that needs the metadata, for
the error message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

# Steps of an axis that differ by less than this fraction count as equal: coordinates may be rounded to single
# precision or to the decimals of a text file.
EQUAL_STEPS = 1e-3


# Component labels of plane velocities in the order (y, x), which is refused.
SWAPPED_VELOCITIES = {
    ("v", "u"),
    ("vy", "vx"),
    ("y", "x"),
    ("u_y", "u_x"),
    ("velocity_y", "velocity_x"),
    ("uy", "ux"),
}
# Names of the last two dimensions of images whose columns come before their rows, which is refused.
COLUMNS_FIRST = {
    ("x", "y"),
    ("column", "row"),
    ("columns", "rows"),
    ("width", "height"),
    ("w", "h"),
    ("lon", "lat"),
    ("longitude", "latitude"),
}


class CoordinateError(ValueError):
    """A dimension, coordinate, period or attribute of a dataset is missing or unsuitable."""


def require_dimensions(example: xr.Dataset, names: Sequence[str], asker: str, *, exactly: bool) -> None:
    """Checks the dimensions of `state` after `sample`.

    Args:
        example: samples with their coordinates.
        names: the required dimensions, in order.
        asker: what needs them, for the message.
        exactly: whether the samples must have these dimensions alone; otherwise these must be the last ones.

    Raises:
        CoordinateError: the samples have other dimensions, or the same ones in another order.
    """
    found = tuple(str(d) for d in example["state"].dims[1:])
    required = tuple(names)
    if found == required or (not exactly and found[-len(required) :] == required):
        return
    ends = "" if exactly else "that end with "
    remedy = (
        f"set `dataset.dimensions` to [{', '.join(d for d in found if d not in required)}"
        f"{', ' if set(found) - set(required) else ''}{', '.join(required)}]"
        if set(required) <= set(found)
        else "rename them in the file, or set `dataset.rename`"
    )
    raise CoordinateError(
        f"{asker} needs samples with the dimensions {ends}({', '.join(required)}), "
        f"found ({', '.join(found)}): {remedy}."
    )


def require_velocities(example: xr.Dataset, asker: str, *, before: Sequence[str] | None = None) -> None:
    """Checks that `state` holds plane velocities of shape (..., component, x, y) with two components.

    Args:
        example: samples with their coordinates.
        asker: what needs them, for the message.
        before: the dimensions between `sample` and `component`; None for any.

    Raises:
        CoordinateError: the dimensions, the number of components or their order differ.
    """
    require_dimensions(example, (*(before or ()), "component", "x", "y"), asker, exactly=before is not None)
    components = example.sizes["component"]
    if components != 2:
        raise CoordinateError(f"{asker} needs two components of a velocity, found {components}.")
    labels = [str(label) for label in example["component"].values] if "component" in example.coords else []
    if tuple(label.casefold() for label in labels) in SWAPPED_VELOCITIES:
        raise CoordinateError(
            f"{asker} needs the velocity along x first and the velocity along y second, "
            f"found the components {', '.join(labels)}: swap them in the file."
        )


def require_rows_and_columns(example: xr.Dataset, asker: str) -> None:
    """Checks that the last two dimensions of `state` are the rows and columns of an image, in this order.

    Only the names of the dimensions are checked.

    Args:
        example: samples with their coordinates.
        asker: what needs them, for the message.

    Raises:
        CoordinateError: a sample has fewer than two dimensions, or the names show the opposite order.
    """
    dims = [str(d) for d in example["state"].dims[1:]]
    if len(dims) < 2:
        raise CoordinateError(f"{asker} needs images, and samples are vectors ({', '.join(dims)}).")
    if tuple(d.casefold() for d in dims[-2:]) in COLUMNS_FIRST:
        swapped = [*dims[:-2], dims[-1], dims[-2]]
        raise CoordinateError(
            f"{asker} needs the rows of an image before its columns, found ({', '.join(dims)}): "
            f"set `dataset.dimensions` to [{', '.join(swapped)}]."
        )


def along(variable: xr.DataArray, dimensions: Sequence[str]) -> xr.DataArray:
    """Transposes a variable so that these dimensions come last; unchanged if it lacks one of them."""
    return variable.transpose(..., *dimensions) if set(dimensions) <= set(variable.dims) else variable


def require_last(variable: xr.DataArray, dimension: str, asker: str) -> None:
    """Checks that a dimension is the last one of a variable, if the variable has it.

    Raises:
        CoordinateError: other dimensions follow it.
    """
    found = [str(d) for d in variable.dims]
    if dimension in found[:-1]:
        reordered = [*(d for d in found if d != dimension), dimension]
        raise CoordinateError(
            f"{asker} needs {dimension!r} as the last dimension of `{variable.name}`, "
            f"found ({', '.join(found)}): transpose it to ({', '.join(reordered)})."
        )


def equal_spacing(example: xr.Dataset, dimension: str, asker: str) -> float:
    """The step of an equally spaced, increasing coordinate, in its own unit.

    Raises:
        CoordinateError: the coordinate does not exist, is not numeric or finite, has fewer than two values,
            or its steps differ or are not positive.
    """
    if dimension not in example.coords:
        raise CoordinateError(
            f"{asker} needs the coordinate {dimension!r} of the samples, and the data has none: "
            f"write it into the file."
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
            f"{asker} needs equal, increasing steps of {dimension!r}, "
            f"found steps from {steps.min():.6g} to {steps.max():.6g}: "
            f"interpolate the states to equal steps, or keep those that are equally spaced."
        )
    return float(values[1] - values[0])


def time_spacing(example: xr.Dataset, asker: str) -> float:
    """The step of equally spaced times, in the time unit of the dataset's attributes.

    Raises:
        CoordinateError: as in `equal_spacing`, or the times were dates and the time unit of the dataset's
            attributes is not set.
    """
    attrs = example["time"].attrs if "time" in example.coords else {}
    if "origin" in attrs and "time_unit" not in attrs:
        raise CoordinateError(
            f"{asker}: the times of the data are dates, and the time unit of its attributes is unknown. "
            f"Set `dataset.time_unit` to that unit: s, min, h or D."
        )
    return equal_spacing(example, "time", asker)


def period(example: xr.Dataset, dimension: str, asker: str) -> float:
    """The period of a periodic coordinate, in its own unit.

    Raises:
        CoordinateError: the coordinate is not marked as periodic, its period is not a positive number, or its
            points do not divide the period equally.
    """
    attrs = example[dimension].attrs if dimension in example.dims else {}
    if "period" not in attrs:
        raise CoordinateError(
            f"{asker} needs the period of {dimension!r}: add the attribute `period` to the coordinate, "
            f"or set `dataset.periods.{dimension}`."
        )
    length = attribute_value(attrs["period"])
    if not length > 0:
        raise CoordinateError(
            f"{asker} needs a positive number as period of {dimension!r}, found {attrs['period']!r}: "
            f"correct the attribute `period` of the coordinate."
        )
    points = example.sizes[dimension]
    if points > 1:
        step = equal_spacing(example, dimension, asker)
        if abs(points * step - length) > EQUAL_STEPS * length:
            raise CoordinateError(
                f"{asker}: the period of {dimension!r} is {length:.6g}, but its {points} points with steps "
                f"of {step:.6g} span a period of {points * step:.6g}. Correct `dataset.periods.{dimension}`; "
                f"if both ends of the interval are grid points, remove one of them."
            )
    return length


def equal_periods(example: xr.Dataset, dimensions: Sequence[str], asker: str) -> float:
    """The common period of several coordinates.

    Raises:
        CoordinateError: as in `period`, or the periods differ.
    """
    lengths = [period(example, dimension, asker) for dimension in dimensions]
    if not np.allclose(lengths, lengths[0], rtol=EQUAL_STEPS):
        shown = ", ".join(f"{d}: {length:.6g}" for d, length in zip(dimensions, lengths, strict=True))
        raise CoordinateError(f"{asker} needs the same period in all directions, found {shown}.")
    return lengths[0]


def periodic_dimensions(example: xr.Dataset, asker: str) -> tuple[str, ...]:
    """The periodic dimensions of `state`: one or two, which must be its last.

    Raises:
        CoordinateError: no dimension or more than two are periodic, or other dimensions follow them.
    """
    dimensions = [str(d) for d in example["state"].dims[1:]]
    found = [d for d in dimensions if "period" in example[d].attrs]
    if not 1 <= len(found) <= 2:
        raise CoordinateError(
            f"{asker} needs one or two periodic directions, "
            f"found {len(found)} among {', '.join(dimensions)}: set their periods in `dataset.periods`."
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
    """A numeric attribute of the dataset.

    Raises:
        CoordinateError: the attribute is missing or is not a finite number.
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
    """A positive attribute of the dataset.

    Raises:
        CoordinateError: the attribute is missing or is not a positive number.
    """
    value = attribute(example, name, asker)
    if not value > 0:
        raise CoordinateError(
            f"{asker} needs a positive number as attribute {name!r} of the dataset, found {value:g}."
        )
    return value


def whole_attribute(example: xr.Dataset, name: str, asker: str) -> int:
    """A positive integer attribute of the dataset.

    Raises:
        CoordinateError: the attribute is missing or is not a positive integer.
    """
    value = attribute(example, name, asker)
    if value < 1 or value != int(value):
        raise CoordinateError(
            f"{asker} needs a positive integer as attribute {name!r} of the dataset, found {value:g}."
        )
    return int(value)


def attribute_value(value: object) -> float:
    """An attribute as a number; NaN if it is not a finite number."""
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return float("nan")
    return number if np.isfinite(number) else float("nan")

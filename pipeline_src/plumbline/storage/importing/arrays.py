"""Identification of fields, parameters and coordinates in files whose arrays do not name their dimensions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.axes import (
    CANONICAL,
    DROPPED,
    SPACE,
    along_one_axis,
    middles,
    name_axes,
)
from plumbline.storage.importing.found import Found
from plumbline.storage.importing.options import ImportOptions
from plumbline.storage.importing.source import Source

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.storage")

PDEBENCH_TIME = "t-coordinate"
"""The only coordinate that may have one value more than there are states: the end of the last time step."""
NAMES = {
    "time": (PDEBENCH_TIME, "time", "t", "times"),
    "x": ("x-coordinate", "x"),
    "y": ("y-coordinate", "y"),
    "z": ("z-coordinate", "z"),
}
"""Known names of coordinate arrays, by dimension."""


class Coordinates:
    """The coordinates of a file.

    Attributes:
        values: the one-dimensional values, by dimension.
        names: their names in the file, by dimension.
        order: the directions of space in the order of the axes, if meshgrids determine it; else x, y, z.
    """

    def __init__(self, source: Source, options: ImportOptions, besides: Sequence[str] = ()) -> None:
        self.values: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}
        meshes: dict[str, int] = {}
        group = besides[0].rpartition("/")[0] if besides else ""
        named = [d for dims in options.dims.values() for d in dims if d not in ("sample", "channel", DROPPED)]
        for dim in dict.fromkeys([*NAMES, *options.coordinates, *named]):
            name = options.coordinates.get(dim, None)
            if name is None:
                usual = NAMES.get(dim, (f"{dim}-coordinate", dim))
                # Coordinates in the group of the fields take precedence over those of the whole file.
                candidates = [*(f"{group}/{n}" for n in usual if group), *usual]
                found = [
                    n
                    for n in candidates
                    if n in source.arrays and n not in besides and _may_be(source, n, dim)
                ]
                if not found or len(source.shape(found[0])) == 0:
                    continue
                name = found[0]
            if not name:
                logger.info("%s: the coordinate of %s is left out, as requested.", source.path, dim)
                continue
            if name not in source.arrays:
                raise DataFileError(
                    f"`--coordinate {dim}={name}`: {source.path} has no array {name}; it has "
                    f"{source.described()}."
                )
            self._read(source, dim, name, meshes, dim in options.edges)
        directions = [d for d in SPACE if d in self.values]
        meshed = len(meshes) > 1 and all(d in meshes for d in directions)
        turned = sorted(directions, key=lambda d: meshes[d]) if meshed else directions
        self.order = (*turned, *(d for d in SPACE if d not in directions))

    def _read(self, source: Source, dim: str, name: str, meshes: dict[str, int], edges: bool) -> None:
        values = source.values(name)
        what = f"{source.path}: the coordinate `{name}`"
        line, axis = along_one_axis(values, what, dim)
        if axis is not None and dim != "time":
            meshes[dim] = axis
        if line.dtype.kind in "iuf":
            line = line.astype(
                np.float64 if line.dtype.itemsize > 4 or line.dtype.kind != "f" else np.float32
            )
            if not np.isfinite(line).all():
                raise DataFileError(
                    f"{what} has {int((~np.isfinite(line)).sum())} values that are not finite."
                )
        self.values[dim] = middles(line) if edges else line
        self.names[dim] = name

    @property
    def lengths(self) -> dict[str, int]:
        """Number of values of each coordinate, by dimension."""
        return {dim: len(values) for dim, values in self.values.items()}

    def fitted(self, path: str, sizes: dict[str, int]) -> dict[str, xr.Variable]:
        """The coordinates for dimensions of these sizes, without the additional last time of PDEBench."""
        import xarray as xr

        fitted = {}
        for dim, values in self.values.items():
            if self.names[dim] == PDEBENCH_TIME and len(values) == sizes.get(dim, 0) + 1:
                logger.info(
                    "%s: the last value of `%s` ends the last step: it is left out.", path, PDEBENCH_TIME
                )
                values = values[:-1]
            fitted[dim] = xr.Variable(dim, values, {"long_name": dim})
        return fitted


def _may_be(source: Source, name: str, dim: str) -> bool:
    """Whether an array can be a coordinate: arrays named x or y may also be inputs or targets."""
    if dim == "time" or name.endswith("-coordinate") or len(source.shape(name)) < 2:
        return True
    if source.arrays[name].dtype.kind not in "iufMm":
        return False
    values = source.values(name)
    return sum((np.diff(values, axis=axis) != 0).any() for axis in range(values.ndim)) <= 1


def read_arrays(source: Source, options: ImportOptions, layout: str, fields: Sequence[str]) -> Found:
    """Finds the fields, parameters and coordinates of a file by the names of the fields.

    Other arrays are parameters if the user names them. If the user names no arrays, other arrays are
    parameters if they contain one value or one field per sample and do not depend on time.

    Args:
        source: the file.
        options: the options of the user.
        layout: name of the layout, for the log.
        fields: names of the arrays that form the state.

    Raises:
        DataFileError: an array does not exist, or its dimensions are not certain.
    """
    found = Found(layout, asked=bool(options.conditions))
    for name in [*fields, *options.conditions]:
        _require(source, name)
    coordinates = Coordinates(source, options, [*fields, *options.conditions])
    shape = _common_shape(source, fields, options)
    shapes = {name: source.shape(name) for name in fields}
    dims_of_fields = {name: _dims(source, options, name, shape, coordinates) for name in fields}
    for name, dims in dims_of_fields.items():
        found.fields[name] = _variable(source, name, dims, shape, options)
    own_dims = dims_of_fields[fields[0]]
    first = found.fields[fields[0]]
    found.coords = coordinates.fitted(source.path, {str(d): n for d, n in first.sizes.items()})
    for name in source.arrays:
        if name in shapes or name in coordinates.names.values():
            continue
        if name in options.conditions:
            array_dims = _parameter_dims(
                source, name, first.sizes["sample"], coordinates, options, own_dims, shape
            )
            if array_dims is None:
                raise DataFileError(
                    f"{source.path}: `{name}` has the shape {source.shape(name)}, and it is not certain "
                    f"which axis is that of the {first.sizes['sample']} samples. List its dimensions, as in "
                    f"`--dims {name}=sample,x`."
                )
            found.parameters[name] = _variable(source, name, array_dims, None, options)
        elif (options.variables or options.conditions) and name != "split" and source.shape(name):
            found.left_out[name] = "`--variable` and `--condition` do not list it"
        elif name in options.coordinates.values() or any(
            name in NAMES[d] for d in options.coordinates if d in NAMES
        ):
            found.left_out[name] = "a coordinate that is left out as requested"
        else:
            _beside(found, source, name, coordinates, options, own_dims, shape)
    found.attrs = {**_numbers(source.attrs, found), **found.attrs}
    return found


def _beside(
    found: Found,
    source: Source,
    name: str,
    coordinates: Coordinates,
    options: ImportOptions,
    own_dims: tuple[str, ...],
    shape: tuple[int, ...],
) -> None:
    """Stores an array that no option names as what its shape determines, or leaves it out."""
    import xarray as xr

    samples = next(iter(found.fields.values())).sizes["sample"]
    dims = _parameter_dims(source, name, samples, coordinates, options, own_dims, shape)
    if name == "split" and dims == ("sample",) and source.arrays[name].dtype.kind in "SUO":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in source.values(name)]
        found.coords[name] = xr.Variable("sample", np.array(texts, dtype=object))
    elif source.arrays[name].dtype.kind not in "iuf":
        found.left_out[name] = f"it holds {source.arrays[name].dtype}"
    elif source.shape(name) in ((), (1,)) and samples > 1:
        found.attrs[name] = source.values(name).ravel()[0].item()
    elif dims is None:
        found.left_out[name] = f"its shape {source.shape(name)} does not determine its dimensions"
    else:
        variable = _variable(source, name, dims, None, options)
        if variable.sizes.get("time") == 1 and variable.ndim > 2:
            variable = variable.isel(time=0)
        constant = "sample" in variable.dims and not {"time", "channel"} & set(variable.dims)
        (found.parameters if constant else found.beside)[name] = variable


def _require(source: Source, name: str) -> None:
    if name in source.groups:
        inside = [array for array in source.arrays if array.startswith(f"{name}/")]
        raise DataFileError(
            f"{source.path}: `{name}` is a group, which contains {', '.join(inside) or 'no arrays'}. Name "
            f"one of them, as in `--variable {inside[0] if inside else 'u'} --dims sample,time,x`."
        )
    if name not in source.arrays:
        raise DataFileError(f"{source.path} has no array `{name}`; it has {source.described()}.")


def _common_shape(source: Source, fields: Sequence[str], options: ImportOptions) -> tuple[int, ...]:
    """The common shape of the fields, after fields on faces are moved to cells."""
    shapes = {name: source.shape(name) for name in fields}
    if len(set(shapes.values())) == 1:
        return shapes[fields[0]]
    shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len({len(shape) for shape in shapes.values()}) > 1:
        raise DataFileError(
            f"{source.path}: the fields have different dimensions: {shown}. Choose those that belong "
            "together with `--variable`."
        )
    least = tuple(min(sizes) for sizes in zip(*shapes.values(), strict=True))
    staggered = all(0 <= n - m <= 1 for shape in shapes.values() for n, m in zip(shape, least, strict=True))
    if not staggered:
        raise DataFileError(
            f"{source.path}: the fields have different shapes: {shown}. Choose those that belong together "
            "with `--variable`."
        )
    if options.faces is None:
        raise DataFileError(
            f"{source.path}: the fields have different shapes, as on a staggered grid: {shown}. "
            "`--faces mean` takes the mean of the two faces of each cell, `--faces first` the first of "
            "them, as for a periodic grid."
        )
    return least


def _dims(
    source: Source, options: ImportOptions, name: str, shape: tuple[int, ...], coordinates: Coordinates
) -> tuple[str, ...]:
    """The dimensions of a field, from the options or from the lengths of the coordinates."""
    given = options.dims.get(name, options.dims.get(""))
    if given is not None:
        return _checked_dims(source, name, given)
    time_longer = coordinates.names.get("time") == PDEBENCH_TIME
    found = name_axes(shape, coordinates.lengths, coordinates.order, time_longer)
    if found is None and 1 in shape and "time" in coordinates.lengths:
        # PDEBench's Darcy flow has one state per sample, but a time coordinate of ten values.
        space = {d: n for d, n in coordinates.lengths.items() if d != "time"}
        found = name_axes(shape, space, coordinates.order)
    if found is None:
        raise DataFileError(_unexplained(source, options, name, shape, coordinates))
    usual = tuple(d for d in CANONICAL if d == "sample" or d in coordinates.lengths)
    if found != usual:
        dims = ", ".join(found)
        logger.info("%s: by the lengths of the coordinates, `%s` is (%s).", source.path, name, dims)
    return found


def _checked_dims(source: Source, name: str, dims: tuple[str, ...]) -> tuple[str, ...]:
    shape = source.shape(name)
    if len(dims) != len(shape):
        raise DataFileError(
            f"{source.path}: `{name}` has {len(shape)} axes with the lengths {shape}, but "
            f"`--dims {','.join(dims)}` lists {len(dims)}."
        )
    if len(set(dims) - {DROPPED}) != len([d for d in dims if d != DROPPED]):
        raise DataFileError(f"`--dims {','.join(dims)}` lists a dimension twice.")
    if "sample" not in dims:
        raise DataFileError(f"`--dims {','.join(dims)}`: one dimension must be `sample`.")
    for dim, length in zip(dims, shape, strict=True):
        if dim == DROPPED and length != 1:
            raise DataFileError(
                f"`--dims {','.join(dims)}`: `{DROPPED}` removes an axis of length one, but this axis of "
                f"`{name}` has length {length}."
            )
    return dims


def _unexplained(
    source: Source, options: ImportOptions, name: str, shape: tuple[int, ...], coordinates: Coordinates
) -> str:
    lengths = coordinates.lengths
    known = ", ".join(f"{coordinates.names[d]}: {n} values" for d, n in lengths.items()) or "there are none"
    hints = ""
    for dim, length in lengths.items():
        if length in shape or (coordinates.names[dim] == PDEBENCH_TIME and length - 1 in shape):
            continue
        edges = (
            f", interpret its values as edges of cells with `--edges {dim}`" if length - 1 in shape else ""
        )
        hints += (
            f" No axis has the length of {coordinates.names[dim]}: correct it{edges}, or leave it out with "
            f"`--coordinate {dim}=`."
        )
    variable = f"--variable {name} " if len(options.variables) == 1 else ""
    rest = iter([d for d in CANONICAL if d != "sample"] + ["channel"] * len(shape))
    example = ",".join(["sample", *(next(rest) for _ in shape[1:])])
    return (
        f"{source.path}: `{name}` has the shape {shape}, and its coordinates do not determine the "
        f"dimensions of its axes ({known}). List the dimensions in the order of the file, as in "
        f"`{variable}--dims {example}`.{hints}"
    )


def _parameter_dims(
    source: Source,
    name: str,
    samples: int,
    coordinates: Coordinates,
    options: ImportOptions,
    own_dims: tuple[str, ...],
    own_shape: tuple[int, ...],
) -> tuple[str, ...] | None:
    """The dimensions of an array other than the fields; None if they are not certain."""
    shape = source.shape(name)
    if name in options.dims:
        return _checked_dims(source, name, options.dims[name])
    if shape == own_shape:
        return own_dims
    without_time = [(d, n) for d, n in zip(own_dims, own_shape, strict=True) if d not in ("time", "channel")]
    for named in (without_time, [(d, n) for d, n in without_time if d != DROPPED]):
        if shape == tuple(n for _, n in named):
            return tuple(d for d, _ in named)
    if shape.count(samples) == 1 and len(shape) == 1:
        return ("sample",)
    if shape.count(samples) == 1 and len(shape) == 2:
        other = DROPPED if 1 in shape else f"{name}_index"
        return tuple("sample" if n == samples else other for n in shape)
    everywhere = [(d, n) for d, n in without_time if d in coordinates.lengths]
    if everywhere and shape == tuple(n for _, n in everywhere):
        return tuple(d for d, _ in everywhere)
    space = {d: n for d, n in coordinates.lengths.items() if d != "time"}
    return name_axes(shape, space, coordinates.order) if shape and shape[0] == samples and space else None


def _variable(
    source: Source, name: str, dims: tuple[str, ...], shape: tuple[int, ...] | None, options: ImportOptions
) -> xr.Variable:
    """The lazy array with its dimensions, moved from the faces of cells to the cells if necessary."""
    import xarray as xr

    values = source.lazy(name, dims.index("sample") if "sample" in dims else None)
    for axis, length in enumerate(shape or values.shape):
        if values.shape[axis] == length + 1:
            first, second = (
                values[(slice(None),) * axis + (part,)] for part in (slice(None, -1), slice(1, None))
            )
            values = first if options.faces == "first" else (first + second) / 2
            logger.info("%s: `%s` is moved from faces to cells (%s).", source.path, name, options.faces)
    variable = xr.Variable(_unique(dims), values)
    return variable.isel({d: 0 for d in variable.dims if str(d).startswith(DROPPED)})


def _unique(dims: tuple[str, ...]) -> tuple[str, ...]:
    """The names, made unique for axes that are removed."""
    return tuple(f"{DROPPED}{i}" if dim == DROPPED else dim for i, dim in enumerate(dims))


def _numbers(attrs: dict[str, Any], found: Found) -> dict[str, Any]:
    """Attributes of the file that are numbers or text; others are recorded as left out."""
    kept: dict[str, Any] = {}
    for name, value in attrs.items():
        plain = plain_attribute(value)
        if plain is None:
            found.left_out[f"the attribute {name}"] = f"it has the type {type(value).__name__}"
        else:
            kept[name] = plain
    return kept


def plain_attribute(value: Any) -> Any:
    """An attribute as a number, text or a list of these; None for other types."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.generic | np.ndarray):
        if value.dtype.kind in "SO":
            listed = [v.decode(errors="replace") if isinstance(v, bytes) else v for v in np.ravel(value)]
            texts = all(isinstance(v, str) for v in listed)
            return (listed if np.ndim(value) else listed[0]) if texts and listed else None
        if value.dtype.kind in "iufbU":
            return value.item() if value.size == 1 else value.tolist()
        return None
    return value if isinstance(value, str | int | float) else None

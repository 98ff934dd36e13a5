"""Import of files in The Well's layout, version 2.

Source: Ohana et al. (NeurIPS 2024), https://arxiv.org/abs/2412.00568.

The groups `t0_fields`, `t1_fields` and `t2_fields` contain scalar, vector and tensor fields (sample, time,
*space, *components). `dimensions` contains the coordinates, `scalars` the parameters and
`boundary_conditions` the boundary conditions. Attributes of each array state whether it varies with sample,
time and each direction; axes along which it is constant are omitted.
"""

from __future__ import annotations

import logging
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.arrays import plain_attribute
from plumbline.storage.importing.axes import along_one_axis
from plumbline.storage.importing.found import Found
from plumbline.storage.importing.options import ImportOptions
from plumbline.storage.importing.source import Source

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.storage")

ORDERS = {"t0_fields": 0, "t1_fields": 1, "t2_fields": 2}


def recognise(source: Source, options: ImportOptions) -> Found | None:
    """Finds the fields, parameters and coordinates in a file of The Well; None for other files.

    Args:
        source: the file.
        options: the options of the user.

    Raises:
        DataFileError: it is a file of The Well, but cannot be interpreted with certainty.
        ValueError: an option does not apply to this layout.
    """
    if not set(ORDERS) & set(source.groups) or "dimensions" not in source.groups:
        return None
    options.refuse_others(("coordinates", "periods", "attributes"), source.path, "in The Well's layout")
    found = Found("The Well")
    space = _space(source)
    samples = _samples(source)
    for group, order in ORDERS.items():
        for path in [name for name in source.arrays if name.startswith(f"{group}/")]:
            _field(source, path, order, space, found, samples)
    if not found.fields:
        raise DataFileError(
            f"{source.path} has no field that varies over samples and times; it has {source.described()}."
        )
    for dim in ("time", *space):
        found.coords.update(_coordinate(source, options, dim))
    for path in [name for name in source.arrays if name.startswith("scalars/")]:
        _scalar(source, path, found, samples)
    found.attrs = {
        name: plain for name, value in source.attrs.items() if (plain := plain_attribute(value)) is not None
    } | found.attrs
    _boundaries(source, options, found)
    return found


def _space(source: Source) -> tuple[str, ...]:
    named = plain_attribute(source.attrs_of.get("dimensions", {}).get("spatial_dims"))
    if named:
        return tuple([named] if isinstance(named, str) else named)
    there = [name.split("/", 1)[1] for name in source.arrays if name.startswith("dimensions/")]
    return tuple(name for name in there if name != "time")


def _samples(source: Source) -> int | None:
    count = plain_attribute(source.attrs.get("n_trajectories"))
    return int(count) if isinstance(count, int | float) else None


def _field(
    source: Source, path: str, order: int, space: tuple[str, ...], found: Found, samples: int | None
) -> None:
    import xarray as xr

    name = path.split("/", 1)[1]
    attrs = source.attrs_of.get(path, {})
    varies = np.atleast_1d(attrs.get("dim_varying", np.ones(len(space), bool))).astype(bool)
    if len(varies) != len(space):
        raise DataFileError(
            f"{source.path}: the attribute dim_varying of `{path}` has {len(varies)} values, expected one "
            f"for each of {', '.join(space)}."
        )
    dims = [
        *(["sample"] if bool(attrs.get("sample_varying", True)) else []),
        *(["time"] if bool(attrs.get("time_varying", True)) else []),
        *(dim for dim, own in zip(space, varies, strict=True) if own),
    ]
    shape = source.shape(path)
    # The components of a tensor may be along a single axis, in row-major order.
    components = {(len(space),) * order, (len(space) ** order,) if order else ()}
    if len(shape) < len(dims) or shape[len(dims) :] not in components:
        raise DataFileError(
            f"{source.path}: `{path}` has the shape {shape}, expected "
            f"({', '.join([*dims, *['component'] * order])}) with {len(space)} components."
        )
    if "sample" in dims and samples is not None and shape[0] != samples:
        raise DataFileError(
            f"{source.path}: `{path}` has {shape[0]} samples, but the attribute n_trajectories is {samples}."
        )
    values = source.lazy(path, 0 if "sample" in dims else None)
    labels = [name] if not order else [f"{name}_{''.join(own)}" for own in product(space, repeat=order)]
    values = values.reshape((*shape[: len(dims)], len(labels))) if order else values
    variable = xr.Variable([*dims, *(["channel"] if order else [])], values, {"labels": labels})
    if set(dims) == {"sample", "time", *space}:
        found.fields[name] = variable
    elif order:
        for i, label in enumerate(labels):
            _aside(found, label, variable.isel(channel=i))
    else:
        _aside(found, name, variable)


def _aside(found: Found, name: str, variable: xr.Variable) -> None:
    """Stores a field that is constant along a dimension: as a parameter if only samples and space vary."""
    plain = variable.copy(deep=False)
    plain.attrs = {}
    fixed = "sample" in variable.dims and "time" not in variable.dims
    (found.parameters if fixed else found.beside)[name] = plain


def _coordinate(source: Source, options: ImportOptions, dim: str) -> dict[str, xr.Variable]:
    import xarray as xr

    path = options.coordinates.get(dim, f"dimensions/{dim}")
    if not path or path not in source.arrays:
        return {}
    line, _ = along_one_axis(source.values(path), f"{source.path}: the coordinate `{path}`", dim)
    return {dim: xr.Variable(dim, line, {"long_name": dim})}


def _scalar(source: Source, path: str, found: Found, samples: int | None) -> None:
    import xarray as xr

    name = path.split("/", 1)[1]
    attrs = source.attrs_of.get(path, {})
    values = source.values(path)
    sample = bool(attrs.get("sample_varying", samples is not None and values.shape[:1] == (samples,)))
    time = bool(attrs.get("time_varying", False))
    dims = [*(["sample"] if sample else []), *(["time"] if time else [])]
    if values.ndim == len(dims) + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.dtype.kind not in "iuf" or values.ndim != len(dims):
        found.left_out[path] = f"its type {values.dtype} and shape {values.shape} are not those of a scalar"
    elif not dims:
        found.attrs[name] = values.item()
    elif dims == ["sample"]:
        found.parameters[name] = xr.Variable(dims, values)
    else:
        found.beside[name] = xr.Variable(dims, values)


def _boundaries(source: Source, options: ImportOptions, found: Found) -> None:
    """Stores boundary conditions as an attribute, and the periods of periodic directions."""
    conditions: dict[str, str] = {}
    for group in [name for name in source.groups if name.startswith("boundary_conditions/")]:
        name = group.split("/", 1)[1]
        attrs = source.attrs_of.get(group, {})
        kind = str(plain_attribute(attrs.get("bc_type")) or "unknown").upper()
        conditions[name] = kind
        along = plain_attribute(attrs.get("associated_dims"))
        dims = [along] if isinstance(along, str) else list(along or [name.split("_")[0]])
        for dim in dims:
            if kind == "PERIODIC" and dim in found.coords and dim not in options.periods:
                _periodic(source.path, dim, found)
        for array in [n for n in source.arrays if n.startswith(f"{group}/")]:
            found.left_out[array] = "masks and values of boundaries are not supported"
    if conditions:
        found.attrs["boundary_conditions"] = ", ".join(f"{name}: {kind}" for name, kind in conditions.items())


def _periodic(path: str, dim: str, found: Found) -> None:
    points = found.coords[dim].values
    steps = np.diff(points)
    if len(points) < 2 or not np.allclose(steps, steps[0], rtol=1e-3):
        raise DataFileError(
            f"{path} states that {dim} is periodic, but its points are not equally spaced: set the period, "
            f"as in `--period {dim}=1.0`."
        )
    if _ends_repeat(found, dim):
        raise DataFileError(
            f"{path} states that {dim} is periodic, but its last point repeats the first. Write the file "
            f"without the last point, or, if the two differ, set the period, as in `--period {dim}=1.0`."
        )
    period = float(len(points) * (points[-1] - points[0]) / (len(points) - 1))
    logger.info(
        "%s: %s is periodic; its %d points are equally spaced over the period %g.",
        path,
        dim,
        len(points),
        period,
    )
    found.coords[dim].attrs["period"] = period


def _ends_repeat(found: Found, dim: str) -> bool:
    """Whether the first sample of every field has the same values at both ends."""

    def ends(variable: xr.Variable) -> Any:
        first = variable.isel(sample=0)
        return np.asarray(first.isel({dim: 0})), np.asarray(first.isel({dim: -1}))

    return all(variable.size and np.array_equal(*ends(variable)) for variable in found.fields.values())

"""Import of files in PDEBench's layouts (Takamoto et al., NeurIPS 2022, https://arxiv.org/abs/2210.07182).

- `tensor` (sample, time, x, ...): advection, Burgers' equation, one-dimensional diffusion-reaction, and Darcy
  flow with the field `nu` and the attribute `beta`.
- `density`, `pressure`, `Vx`, `Vy`, `Vz`, each (sample, time, x, ...): compressible flow.
- One group per sample, with `data` (time, x, ..., channel) and `grid/x`, `grid/y`, `grid/t`: two-dimensional
  diffusion-reaction, diffusion-sorption, shallow water.
- `velocity`, `particles` (sample, time, x, y, component), `force` (sample, x, y, component), `t` (sample,
  time): incompressible flow.

Coordinates are `x-coordinate`, `y-coordinate`, `z-coordinate` and `t-coordinate`, which also contains the end
of the last time step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.arrays import Coordinates, plain_attribute, read_arrays
from plumbline.storage.importing.axes import SPACE, along_one_axis
from plumbline.storage.importing.found import Found
from plumbline.storage.importing.options import ImportOptions
from plumbline.storage.importing.source import Source

if TYPE_CHECKING:
    import xarray as xr

FIELDS = ("density", "pressure", "Vx", "Vy", "Vz")


def recognise(source: Source, options: ImportOptions) -> Found | None:
    """Finds the fields, parameters and coordinates in a file of PDEBench; None for other files.

    Args:
        source: the file.
        options: the options of the user.

    Raises:
        DataFileError: it is a file of PDEBench, but cannot be interpreted with certainty.
        ValueError: an option does not apply to this layout.
    """
    every = ("coordinates", "periods", "attributes")
    if _is_group_a_sample(source):
        options.refuse_others(every, source.path, "in PDEBench's layout with one group per sample")
        return _group_a_sample(source, options)
    if _is_incompressible(source):
        options.refuse_others(every, source.path, "in PDEBench's layout of incompressible flow")
        return _incompressible(source, options)
    if "tensor" in source.arrays or "tensor" in source.groups:
        return read_arrays(source, options, "PDEBench", ["tensor"])
    fields = [name for name in FIELDS if name in source.arrays]
    return read_arrays(source, options, "PDEBench", fields) if fields else None


def _is_group_a_sample(source: Source) -> bool:
    return bool(_samples(source))


def _samples(source: Source) -> list[str]:
    """The groups that contain one sample each, in order."""
    roots = {name.split("/")[0] for name in source.arrays}
    return sorted(
        (root for root in roots if root.isdigit() and f"{root}/data" in source.arrays),
        key=lambda name: (int(name), name),
    )


def _group_a_sample(source: Source, options: ImportOptions) -> Found:
    import dask.array as da
    import xarray as xr

    found = Found("PDEBench, one group per sample")
    names = _samples(source)
    shape = source.shape(f"{names[0]}/data")
    for name in names:
        if source.shape(f"{name}/data") != shape:
            raise DataFileError(
                f"{source.path}: `{name}/data` has the shape {source.shape(f'{name}/data')}, but "
                f"`{names[0]}/data` has {shape}."
            )
    dims = ("time", *SPACE[: len(shape) - 2], "channel")
    if not 3 <= len(shape) <= 5:
        raise DataFileError(
            f"{source.path}: `{names[0]}/data` has the shape {shape}, expected (time, x, ..., channel), as "
            "PDEBench writes it."
        )
    sizes = dict(zip(dims, shape, strict=True))
    for dim in dims[:-1]:
        found.coords.update(_grid(source, options, names, dim, sizes[dim]))
    blocks = [source.lazy(f"{name}/data", None)[None] for name in names]
    data = xr.Variable(("sample", *dims), da.concatenate(blocks, 0))
    if sizes.get("channel") == 1:
        data = data.isel(channel=0)
    found.fields["data"] = data
    found.coords["sample"] = xr.Variable("sample", [int(name) for name in names])
    grids = {f"grid/{'t' if dim == 'time' else dim}" for dim in dims}
    for name in source.arrays:
        group, _, below = name.partition("/")
        if group not in names:
            found.left_out[name] = "it is not in the group of a sample"
        elif group == names[0] and below != "data" and below not in grids:
            found.left_out[f"{below} of each sample"] = "it is not part of PDEBench's layout"
    _group_attributes(source, names, found)
    return found


def _grid(
    source: Source, options: ImportOptions, names: list[str], dim: str, size: int
) -> dict[str, xr.Variable]:
    """The coordinate of a dimension, which must be the same in all samples."""
    import xarray as xr

    if options.coordinates.get(dim) == "":
        return {}
    path = options.coordinates.get(dim) or f"grid/{'t' if dim == 'time' else dim}"
    if f"{names[0]}/{path}" not in source.arrays:
        return {}
    lines = [
        along_one_axis(source.values(f"{name}/{path}"), f"{source.path}: `{name}/{path}`", dim)[0]
        for name in names
    ]
    for name, line in zip(names, lines, strict=True):
        if not np.array_equal(line, lines[0]):
            raise DataFileError(
                f"{source.path}: `{name}/{path}` differs from `{names[0]}/{path}`, but all samples must "
                f"have the same grid. Leave it out with `--coordinate {dim}=`."
            )
    if len(lines[0]) != size:
        raise DataFileError(
            f"{source.path}: `{names[0]}/{path}` has {len(lines[0])} values, but `data` has {size} along "
            f"{dim}. Correct it, or leave it out with `--coordinate {dim}=`."
        )
    return {dim: xr.Variable(dim, lines[0], {"long_name": dim})}


def _group_attributes(source: Source, names: list[str], found: Found) -> None:
    """Stores attributes of the samples: common ones as attributes, varying ones as parameters."""
    import xarray as xr

    found.attrs = {
        name: plain for name, value in source.attrs.items() if (plain := plain_attribute(value)) is not None
    }
    own = [source.attrs_of.get(name, {}) for name in names]
    for attribute in sorted({key for attrs in own for key in attrs}):
        values = [plain_attribute(attrs.get(attribute)) for attrs in own]
        if all(value == values[0] for value in values) and values[0] is not None:
            found.attrs.setdefault(attribute, values[0])
        elif all(isinstance(value, int | float) for value in values):
            found.parameters[attribute] = xr.Variable("sample", np.array(values, dtype=np.float64))
        else:
            found.left_out[f"the attribute {attribute} of each sample"] = (
                "it differs between samples, and is not a number"
            )


def _is_incompressible(source: Source) -> bool:
    if "velocity" not in source.arrays or not {"force", "particles", "t"} & set(source.arrays):
        return False
    shape = source.shape("velocity")
    return len(shape) == 5 and shape[-1] == 2


def _incompressible(source: Source, options: ImportOptions) -> Found:
    import xarray as xr

    found = Found("PDEBench, incompressible flow")
    n, times, nx, ny, _ = source.shape("velocity")
    velocity = xr.Variable(
        ("sample", "time", "x", "y", "channel"), source.lazy("velocity", 0), {"labels": ["u", "v"]}
    )
    found.fields["velocity"] = velocity
    coordinates = Coordinates(source, options)
    found.coords = coordinates.fitted(source.path, {str(d): n for d, n in velocity.sizes.items()})
    layouts = {
        "particles": ((n, times, nx, ny, 1), ("sample", "time", "x", "y", "_")),
        "force": ((n, nx, ny, 2), ("sample", "x", "y", "component")),
    }
    for name in source.arrays:
        if name in ("velocity", *coordinates.names.values()):
            continue
        shape, dims = layouts.get(name, ((), ()))
        if name not in layouts or source.shape(name) != shape:
            found.left_out[name] = f"its shape {source.shape(name)} is not that of PDEBench's layout"
            continue
        variable = xr.Variable(dims, source.lazy(name, 0))
        if name == "force":
            found.parameters[name] = variable.transpose("sample", "component", "x", "y")
        else:
            found.beside[name] = variable.isel(_=0)
    found.attrs = {
        name: plain for name, value in source.attrs.items() if (plain := plain_attribute(value)) is not None
    }
    return found

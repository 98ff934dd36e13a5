"""Import of NetCDF files and zarr stores, whose variables name their dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.axes import DROPPED
from plumbline.storage.importing.found import Found
from plumbline.storage.importing.options import ImportOptions

if TYPE_CHECKING:
    import xarray as xr

NETCDF = (".nc", ".nc3", ".nc4", ".cdf", ".netcdf")


@contextmanager
def open_netcdf(path: str) -> Iterator[xr.Dataset]:
    """Opens a NetCDF file as a lazy dataset, which can be read until the end of the `with` block.

    Raises:
        DataFileError: the file cannot be read.
    """
    import h5py
    import xarray as xr

    try:
        opened = xr.open_dataset(
            path, engine="h5netcdf" if h5py.is_hdf5(path) else "scipy", decode_timedelta=False, cache=False
        )
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataFileError(f"{path} cannot be read as a NetCDF file ({reason}).") from error
    with opened:
        yield _in_blocks(opened.drop_encoding())


def _in_blocks(opened: xr.Dataset) -> xr.Dataset:
    """The dataset with lazy variables, in blocks along their first dimension."""
    from plumbline.storage.store import chunk_shape

    return opened.assign(
        {
            name: variable.chunk(
                dict(zip(variable.dims, chunk_shape(variable.shape, variable.dtype.itemsize), strict=True))
            )
            for name, variable in opened.data_vars.items()
            if variable.ndim
        }
    )


def from_named(path: str, stored: xr.Dataset, options: ImportOptions) -> Found:
    """Finds the state, condition and coordinates in a dataset whose variables name their dimensions.

    Args:
        path: path of the file, for messages.
        stored: the dataset.
        options: the options of the user. If they name no variable, the state is the variable `state`, or the
            only variable with more than one dimension.

    Raises:
        DataFileError: a variable does not exist, no dimension is `sample`, or the state is not certain.
        ValueError: an option does not apply to such a file.
    """
    options.refuse_others(
        ("variables", "dims", "conditions", "coordinates", "periods", "attributes"),
        path,
        "a file with named dimensions",
    )
    fields = options.variables or _only(path, stored)
    renamed = _renamed(path, stored, options, fields)
    found = Found("NetCDF" if Path(path).suffix.lower() in NETCDF else "zarr", asked=bool(options.conditions))
    found.fields = {name: renamed[name].variable for name in fields}
    if "sample" not in renamed[fields[0]].dims:
        dims = ", ".join(str(d) for d in stored[fields[0]].dims)
        example = ",".join(["sample", *(str(d) for d in stored[fields[0]].dims[1:])])
        raise DataFileError(
            f"{path}: `{fields[0]}` has the dimensions ({dims}), and none is `sample`. List them in order, "
            f"as in `--dims {example}`."
        )
    for name in options.conditions:
        variable = renamed[name].variable
        if "sample" not in variable.dims:
            raise DataFileError(f"{path}: `{name}` has no dimension `sample`, which a condition requires.")
        found.parameters[name] = variable.transpose("sample", ...)
    for other in renamed.data_vars:
        if other in (*fields, *options.conditions):
            continue
        if options.variables:
            found.left_out[str(other)] = "`--variable` and `--condition` do not list it"
        else:
            found.beside[str(other)] = renamed[other].variable
    skipped = {dim for dim, name in options.coordinates.items() if not name}
    found.coords = {str(n): c.variable for n, c in renamed.coords.items() if n not in skipped}
    found.attrs = dict(stored.attrs)
    found.own_channels = len(fields) == 1
    if not found.own_channels and "channel" in found.coords:
        labels = found.coords.pop("channel").values
        for name, field in found.fields.items():
            found.fields[name] = field.copy(deep=False)
            found.fields[name].attrs["labels"] = [f"{name}_{label}" for label in labels]
    return found


def _only(path: str, stored: xr.Dataset) -> tuple[str, ...]:
    if "state" in stored:
        return ("state",)
    many = [str(name) for name, v in stored.data_vars.items() if v.ndim > 1]
    if len(many) == 1:
        return (many[0],)
    listed = ", ".join(f"{name} ({', '.join(map(str, v.dims))})" for name, v in stored.data_vars.items())
    raise DataFileError(
        f"{path} has no variable `state`, but {listed or 'no variables'}. Name the variable of the state, "
        f"as in `--variable {many[0] if many else 'u'} --dims sample,time,x`."
    )


def _renamed(path: str, stored: xr.Dataset, options: ImportOptions, fields: tuple[str, ...]) -> xr.Dataset:
    """The dataset with dimensions and coordinates renamed according to the options."""
    for name in (*fields, *options.conditions):
        if name not in stored.variables:
            raise DataFileError(
                f"{path} has no variable `{name}`; it has {', '.join(map(str, stored.variables))}."
            )
    given = {name: options.dims.get(name, options.dims.get("")) for name in fields}
    given |= {name: options.dims[name] for name in options.conditions if name in options.dims}
    new: dict[str, str] = {}
    for name, dims in given.items():
        if dims is None:
            continue
        own = stored[name].dims
        if len(own) != len(dims) or DROPPED in dims:
            raise DataFileError(
                f"{path}: `{name}` has the dimensions ({', '.join(map(str, own))}), but "
                f"`--dims {','.join(dims)}` does not list one name for each."
            )
        new |= {str(old): dim for old, dim in zip(own, dims, strict=True) if str(old) != dim}
    for dim, name in options.coordinates.items():
        if name and name not in stored.variables:
            raise DataFileError(f"`--coordinate {dim}={name}`: {path} has no variable `{name}`.")
        if name and name != dim:
            line = np.asarray(stored[name].values)
            stored = stored.drop_vars(name).assign_coords({dim: (stored[name].dims, line)})
    try:
        return stored.rename(
            {old: dim for old, dim in new.items() if old in {*stored.dims, *stored.variables}}
        )
    except ValueError as error:
        raise DataFileError(f"{path}: `--dims`: {str(error).splitlines()[0]}") from error

"""Reading of users' zarr stores: format 2 or 3, in a folder, a zip file or at a remote address.

A store is read according to its format, with these conventions where the format allows several:

- A fill value of zero is an ordinary value. Zarr 2 sets it for every array, and xarray would convert zeros to
  NaN. Any other fill value, and a `missing_value`, marks missing values. They are read as NaN, and the error
  that refuses them names the fill value.
- Values packed with `scale_factor` and `add_offset` are unpacked.
- A chunk that is not stored contains the fill value. The number of such chunks is logged.
- Dates (`datetime64`, `cftime`) are decoded. Durations are decoded if xarray wrote them.
"""

from __future__ import annotations

import importlib
import logging
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from plumbline.datasets._download import DataFileError

if TYPE_CHECKING:
    import xarray as xr
    import zarr

logger = logging.getLogger("plumbline.storage")

# The package that fsspec needs for each kind of address.
PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "http": "aiohttp",
    "https": "aiohttp",
}
MARKERS = ("zarr.json", ".zgroup", ".zmetadata")
"""Files that mark the root of a zarr group; it contains one of them."""


def is_remote(path: str) -> bool:
    """Whether a path is an address such as `s3://bucket/data.zarr`."""
    return "://" in path


def open_foreign_store(path: str) -> xr.Dataset:
    """Opens a user's zarr store as a lazy dataset.

    Args:
        path: a folder, a `.zip` file, or an address that fsspec supports.

    Raises:
        DataFileError: the path does not exist, it is not a zarr group with arrays, an array does not name its
            dimensions, or the store cannot be read.
    """
    import zarr

    store = _store(path)
    try:
        group = zarr.open_group(store, mode="r")
        arrays = dict(group.arrays())
    except Exception as error:
        raise _unreadable(path, error) from error
    if not arrays:
        inside = ", ".join(name for name, _ in group.groups()) or "nothing"
        raise DataFileError(f"{path}: this zarr group contains no arrays; it contains {inside}.")
    unnamed = [name for name, array in arrays.items() if array.ndim and not _dimensions(array)]
    if unnamed:
        raise DataFileError(
            f"{path}: the arrays {', '.join(unnamed)} do not name their dimensions. Write the store with "
            "xarray, or set `dimension_names` (zarr 3) or the attribute `_ARRAY_DIMENSIONS` (zarr 2)."
        )
    _log_missing_chunks(path, arrays)
    try:
        return _decoded(path, store, group.metadata.zarr_format)
    except DataFileError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def _store(path: str) -> Any:
    """The object for zarr to open: a path, or the store of a zip file or an address."""
    from zarr.storage import FsspecStore, ZipStore

    if is_remote(path):
        protocol = urlsplit(path).scheme.split("+")[0]
        needed = PACKAGES.get(protocol)
        if needed is not None and importlib.util.find_spec(needed) is None:
            raise DataFileError(f"{path}: reading {protocol}:// needs the package {needed}: install it.")
        try:
            return FsspecStore.from_url(path, read_only=True)
        except Exception as error:
            raise _unreadable(path, error) from error
    local = Path(path)
    if not local.exists():
        raise DataFileError(
            f"{path}: there is nothing at {local.absolute()}. Relative paths start at the working directory."
        )
    if local.is_file():
        if not zipfile.is_zipfile(local):
            raise DataFileError(
                f"{path} is a file, but not a zip file with a zarr store. Import other formats with "
                "`plumbline import`."
            )
        return ZipStore(local, mode="r")
    if not any((local / marker).exists() for marker in MARKERS):
        raise DataFileError(
            f"{path} is a folder without {' or '.join(MARKERS)}: it is not a zarr group. Give the path of "
            "the folder that contains one of these files."
        )
    return local


def _unreadable(path: str, error: Exception) -> DataFileError:
    reason = str(error).splitlines()[0] if str(error) else "no further reason given"
    return DataFileError(f"{path} cannot be read as a zarr store ({type(error).__name__}: {reason}).")


def _dimensions(array: zarr.Array) -> tuple[str, ...]:
    """The names of the dimensions of an array; empty if not all have names."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return tuple(names) if len(names) == array.ndim and all(names) else ()


def _log_missing_chunks(path: str, arrays: dict[str, zarr.Array]) -> None:
    # Listing the chunks of a remote store takes one request per thousand chunks.
    if is_remote(path):
        return
    for name, array in arrays.items():
        missing = array.nchunks - array.nchunks_initialized
        if missing:
            logger.warning(
                "%s: %d of %d chunks of %s are not stored and are read as the fill value %s.",
                path, missing, array.nchunks, name, array.fill_value,
            )  # fmt: skip


def _decoded(path: str, store: Any, zarr_format: int) -> xr.Dataset:
    import xarray as xr

    raw = xr.open_zarr(
        store,
        consolidated=False,
        chunks={},
        zarr_format=zarr_format,
        mask_and_scale=False,
        decode_times=False,
    )
    prepared = raw.assign_coords(
        {
            name: _without_default_fill(variable, zarr_format)
            for name, variable in raw.coords.variables.items()
        }
    ).assign({name: _without_default_fill(raw[name].variable, zarr_format) for name in raw.data_vars})
    decoded = xr.decode_cf(prepared, decode_timedelta=False)
    durations = [
        name
        for name, v in decoded.variables.items()
        if str(v.attrs.get("dtype", "")).startswith("timedelta64")
    ]
    for name in durations:
        decoded[name] = xr.decode_cf(decoded[[name]], decode_timedelta=True)[name]
    fills = {
        name: v.encoding["_FillValue"] for name, v in decoded.variables.items() if "_FillValue" in v.encoding
    }
    result = decoded.drop_encoding().assign_attrs(raw.attrs)
    for name, fill in fills.items():
        if np.issubdtype(np.asarray(fill).dtype, np.number):  # for error messages about missing values
            result[name].encoding["_FillValue"] = float(np.real(fill))
    return result


def _without_default_fill(variable: xr.Variable, zarr_format: int) -> xr.Variable:
    """The variable without the fill value of zero that every array of zarr 2 has."""
    attrs = dict(variable.attrs)
    packed = "scale_factor" in attrs or "add_offset" in attrs
    if zarr_format == 2 and not packed and not attrs.get("_FillValue", 1):
        del attrs["_FillValue"]
    result = variable.copy(deep=False)
    result.attrs = attrs
    return result

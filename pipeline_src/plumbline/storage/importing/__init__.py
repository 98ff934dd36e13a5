"""Import of foreign files as datasets, by a known layout or by options of the user.

The suffix or the content of a file determines how it is opened. The first layout that recognises it
interprets its arrays, and `Found` combines them into a lazy dataset, which is checked and written block by
block. Files may therefore be larger than memory. A file whose interpretation is not certain is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.importing.options import ImportOptions

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.storage.importing.found import Found
    from plumbline.storage.importing.source import Source

logger = logging.getLogger("plumbline.storage")

EQUAL_SPACING = 1e-3
"""Relative difference between a period and points times spacing that counts as rounding."""


def import_file(path: str, output: Path, options: ImportOptions | None = None) -> None:
    """Imports a foreign file into a zarr store, block by block.

    Args:
        path: a file, a folder with a zarr store, or an address.
        output: path of the new store.
        options: information that the file does not contain.

    Raises:
        DataFileError: the file cannot be read or interpreted with certainty, contains values that are not
            finite, or `output` exists and plumbline did not write it.
        ValueError: an option does not apply to the file.
    """
    import dask

    from plumbline.datasets._checks import refuse_non_finite
    from plumbline.storage.blocks import in_chunks
    from plumbline.storage.store import provenance, write_store

    _require_free(output)
    # One block at a time, because a pool of threads would hold several in memory.
    with imported(path, options or ImportOptions()) as data, dask.config.set(scheduler="synchronous"):
        refuse_non_finite(data, path)
        write_store(in_chunks(data), output, provenance(_described(path, options or ImportOptions())))


@contextmanager
def imported(path: str, options: ImportOptions) -> Iterator[xr.Dataset]:
    """Opens a foreign file as a lazy dataset, which can be read until the end of the `with` block.

    Args:
        path: a file, a folder with a zarr store, or an address.
        options: information that the file does not contain.

    Raises:
        DataFileError: the file cannot be read or interpreted with certainty.
        ValueError: an option does not apply to the file.
    """
    from plumbline.storage.foreign import is_remote, open_foreign_store
    from plumbline.storage.importing.columns import import_table
    from plumbline.storage.importing.named import NETCDF, from_named, open_netcdf
    from plumbline.storage.importing.source import HDF5, NUMPY, open_source
    from plumbline.storage.tables import is_table

    local = Path(path)
    suffix = local.suffix.lower()
    if not is_remote(path) and not local.exists():
        raise DataFileError(f"{path}: there is nothing at {local.absolute()}.")
    if is_remote(path) or local.is_dir() or suffix in (".zip", ".zarr"):
        stored = from_named(path, open_foreign_store(path), options).dataset(path)
        yield _completed(path, stored, options)
    elif suffix in NETCDF:
        with open_netcdf(path) as opened:
            yield _completed(path, from_named(path, opened, options).dataset(path), options)
    elif is_table(local):
        yield _completed(path, import_table(path, options), options)
    elif suffix in (*HDF5, *NUMPY) or _is_hdf5(local):
        with open_source(path) as source, ExitStack() as stack:
            yield _completed(path, _from_arrays(source, options, stack), options)
    else:
        raise DataFileError(
            f"{path} has the suffix {suffix or '(none)'}, expected one of HDF5 (.h5, .hdf5), MATLAB (.mat), "
            "NumPy (.npz, .npy), NetCDF (.nc), a table (.csv, .tsv, .parquet) or a zarr store (a folder, "
            ".zip)."
        )


def _is_hdf5(path: Path) -> bool:
    import h5py

    return bool(h5py.is_hdf5(path))


def _from_arrays(source: Source, options: ImportOptions, stack: ExitStack) -> xr.Dataset:
    """The dataset of an exported file, of named arrays, of a known layout, or with named dimensions."""
    from plumbline.storage.hdf5 import is_exported, read_exported
    from plumbline.storage.importing import matlab, pdebench, the_well
    from plumbline.storage.importing.arrays import read_arrays
    from plumbline.storage.importing.named import from_named, open_netcdf

    if is_exported(source) and not options.variables:
        options.refuse_others(("periods", "attributes"), source.path, "a file of `plumbline export`")
        return read_exported(source)
    if options.variables and not (source.names_dimensions and not options.dims):
        return read_arrays(source, options, "as named", options.variables).dataset(source.path)
    if not options.variables:
        for layout in (the_well, pdebench, matlab):
            found = layout.recognise(source, options)
            if found is not None:
                return found.dataset(source.path)
    if source.names_dimensions:
        opened = stack.enter_context(open_netcdf(source.path))
        return from_named(source.path, opened, options).dataset(source.path)
    return _only_array(source, options).dataset(source.path)


def _only_array(source: Source, options: ImportOptions) -> Found:
    """The only array of a file that is not a coordinate."""
    from plumbline.storage.importing.arrays import NAMES, read_arrays

    coordinates = {name for names in NAMES.values() for name in names} | set(options.coordinates.values())
    fields = [
        name
        for name, array in source.arrays.items()
        if len(array.shape) > 1 and name not in coordinates and name not in options.conditions
    ]
    if len(fields) == 1:
        return read_arrays(source, options, "one array", fields)
    example = next((name for name, array in source.arrays.items() if len(array.shape) > 1), "u")
    raise DataFileError(
        f"{source.path} has no known layout (PDEBench, The Well, MATLAB files of neural operators): it "
        f"holds {source.described()}. Name the array of the state, as in "
        f"`--variable {example} --dims sample,time,x`."
    )


def _completed(path: str, data: xr.Dataset, options: ImportOptions) -> xr.Dataset:
    """The dataset with the periods and attributes of the options."""
    for dim, period in options.periods.items():
        data = _with_period(path, data, dim, period)
    for name, value in options.attributes.items():
        if data.attrs.get(name, value) != value:
            raise DataFileError(
                f"`--attribute {name}={value:g}`: {path} has {data.attrs[name]}. Correct one of them."
            )
    open_ends = [d for d in data["state"].dims if d in ("x", "y", "z") and d in data.coords]
    if any("period" not in data[d].attrs for d in open_ends):
        unmarked = ", ".join(str(d) for d in open_ends if "period" not in data[d].attrs)
        logger.info(
            "%s does not state whether %s are periodic: if so, set the period, as in `--period %s=1.0`.",
            path,
            unmarked,
            open_ends[0],
        )
    return data.assign_attrs({**data.attrs, **options.attributes})


def _with_period(path: str, data: xr.Dataset, dim: str, period: float) -> xr.Dataset:
    if dim not in data["state"].dims:
        dims = ", ".join(str(d) for d in data["state"].dims[1:])
        raise DataFileError(f"`--period {dim}={period:g}`: {path} has no dimension {dim}; it has {dims}.")
    points = data.sizes[dim]
    if dim not in data.coords:
        logger.info("%s: %s has no coordinate; its points are spaced equally over the period.", path, dim)
        data = data.assign_coords({dim: (dim, period / points * np.arange(points), {"long_name": dim})})
    values = data[dim].values
    span = abs(float(values[-1] - values[0]))
    if span >= period * (1 - EQUAL_SPACING / points):
        raise DataFileError(
            f"`--period {dim}={period:g}`: the points of {path} extend over {span:g}. The period must be "
            "longer, since the last point must not repeat the first."
        )
    equal = points > 1 and np.allclose(
        np.diff(values), (values[-1] - values[0]) / (points - 1), rtol=EQUAL_SPACING
    )
    expected = span * points / max(1, points - 1)
    if equal and abs(expected - period) > EQUAL_SPACING * period:
        raise DataFileError(
            f"`--period {dim}={period:g}`: the {points} equally spaced points of {path} have the period "
            f"{expected:g}."
        )
    marked = data[dim].attrs.get("period", period)
    if marked != period:
        raise DataFileError(f"`--period {dim}={period:g}`: {path} has {marked}. Correct one of them.")
    return data.assign_coords({dim: data[dim].assign_attrs(period=period)})


def _described(path: str, options: ImportOptions) -> str:
    """The path and options of the import as JSON, for the provenance."""
    local = Path(path)
    given = {name: value for name, value in asdict(options).items() if value}
    modified = {"modified": local.stat().st_mtime} if local.exists() else {}
    return json.dumps({"import": path, **modified, **given})


def _require_free(output: Path) -> None:
    """Raises an error if the output exists and is not a store that plumbline wrote."""
    if not output.exists():
        return
    from plumbline.storage.store import open_store

    try:
        own = output.is_dir() and "plumbline_spec" in open_store(output).attrs
    except Exception:
        own = False
    if not own:
        raise DataFileError(f"{output} exists, and plumbline did not write it: choose another `--output`.")

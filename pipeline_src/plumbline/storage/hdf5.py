"""Export of datasets and samples to HDF5 in PDEBench's layout, and exact import of these files.

PDEBench (Takamoto et al., NeurIPS 2022, https://arxiv.org/abs/2210.07182) stores a single field as `tensor`
(sample, time, x, ...), several fields under their own names, such as `Vx`, `Vy` and `density`, and
coordinates as `x-coordinate` and `t-coordinate`. Splits, conditions, units and dates are not part of this
layout and are stored in addition. Attributes describe each array, so that the dataset can be restored
exactly.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.storage import CorruptStoreError

if TYPE_CHECKING:
    import h5py
    import xarray as xr

    from plumbline.storage.importing.source import Source

COORDINATES = {"time": "t-coordinate", "x": "x-coordinate", "y": "y-coordinate", "z": "z-coordinate"}
VELOCITIES = {"u": "Vx", "v": "Vy", "w": "Vz"}
COMPRESSED = 2**16
"""Size in bytes above which an array is compressed."""


class ExportError(ValueError):
    """Raised when a dataset cannot be stored as HDF5."""


def export_hdf5(
    dataset: xr.Dataset, path: Path, reading: Callable[[], AbstractContextManager[None]] = nullcontext
) -> None:
    """Writes a dataset as HDF5, block by block; a failure leaves no incomplete file.

    Args:
        dataset: the dataset, which may be lazy.
        path: path of the file, which is replaced if it exists.
        reading: context manager in which lazy values are read; it can convert errors to ones that name the
            source.

    Raises:
        ExportError: the path is a folder, or HDF5 has no type for a variable.
    """
    import h5py

    if path.is_dir():
        raise ExportError(f"{path} is a folder: name a file, as in `--output {path / 'data.h5'}`.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    taken = {str(name) for name in dataset.variables}
    try:
        # Older versions of the format do not allow attributes larger than 64 kilobytes.
        with h5py.File(partial, "w", libver=("v108", "latest")) as file:
            for name, variable in dataset.variables.items():
                for written, part, attrs in _laid_out(str(name), variable, dataset, taken):
                    node = _write(file, written, part, reading)
                    node.attrs["plumbline_name"] = str(name)
                    node.attrs["plumbline_attrs"] = json.dumps(variable.attrs, default=_plain)
                    for key, value in attrs.items():
                        node.attrs[f"plumbline_{key}"] = value
            file.attrs["plumbline_attrs"] = json.dumps(dataset.attrs, default=_plain)
            file.attrs["plumbline_coordinates"] = json.dumps([str(name) for name in dataset.coords])
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def export_stores(paths: Sequence[Path], output: Path) -> None:
    """Writes parts of a dataset or of samples, or a store of a user, as one HDF5 file.

    Args:
        paths: paths of the stores, in the order of their samples.
        output: path of the file, which is replaced if it exists.

    Raises:
        CorruptStoreError: a store of plumbline cannot be read.
        DataFileError: a store of a user cannot be read.
        ExportError: the stores do not fit together, or HDF5 cannot represent their content.
    """
    from plumbline.storage.store import open_parts, reading

    for path in paths:
        _require_no_groups(path)
    if all(_is_own(path) for path in paths):
        export_hdf5(open_parts(paths), output, lambda: reading(paths[0].parent))
    else:
        export_hdf5(_foreign_parts(paths), output, lambda: _reading_foreign(paths))


@contextmanager
def _reading_foreign(paths: Sequence[Path]) -> Iterator[None]:
    from plumbline.datasets._download import DataFileError

    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataFileError(f"{', '.join(map(str, paths))} cannot be read ({reason}).") from error


def _is_own(path: Path) -> bool:
    """Whether plumbline wrote a store."""
    try:
        return "plumbline_spec" in json.loads((path / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError):
        return False


def _foreign_parts(paths: Sequence[Path]) -> xr.Dataset:
    import xarray as xr

    from plumbline.storage.foreign import open_foreign_store

    parts = [open_foreign_store(str(path)) for path in paths]
    if len(parts) == 1:
        return parts[0]
    try:
        return xr.concat(
            parts, dim="sample", data_vars="minimal", coords="minimal", compat="override", join="exact",
            combine_attrs="override",
        )  # fmt: skip
    except ValueError as error:
        raise ExportError(
            f"{', '.join(map(str, paths))} do not fit together along `sample` ({str(error).splitlines()[0]})."
        ) from error


def _require_no_groups(store: Path) -> None:
    """Raises an error if a store contains groups, whose arrays would not be exported."""
    import zarr

    try:
        groups = [name for name, _ in zarr.open_group(store, mode="r").groups()]
    except Exception:
        return  # opening the store will raise an error
    if groups:
        raise ExportError(
            f"{store} contains the groups {', '.join(groups)}, whose arrays are not variables of its "
            "dataset: rename arrays such as a/b, or remove them."
        )


def is_exported(source: Source) -> bool:
    """Whether `export_hdf5` wrote the file."""
    return "plumbline_coordinates" in source.attrs


def read_exported(source: Source) -> xr.Dataset:
    """The exported dataset in a file of `export_hdf5`, lazy along `sample`.

    Raises:
        CorruptStoreError: an array or its description is missing.
    """
    import dask.array as da
    import xarray as xr

    variables: dict[str, Any] = {}
    parts: dict[str, list[tuple[int, Any]]] = {}
    for written in source.arrays:
        attrs = source.attrs_of.get(written, {})
        if "plumbline_name" not in attrs:
            raise CorruptStoreError(f"{source.path}: `{written}` has no attribute that names its variable.")
        name, dims = attrs["plumbline_name"], json.loads(attrs["plumbline_dims"])
        values = _restored(source, written, dims, attrs.get("plumbline_dtype"))
        if "plumbline_place" in attrs:
            parts.setdefault(name, []).append((int(attrs["plumbline_place"]), values))
            if len(parts[name]) < int(attrs["plumbline_parts"]):
                continue
            axis = int(attrs["plumbline_axis"])
            values = da.stack([part for _, part in sorted(parts.pop(name), key=lambda p: p[0])], axis)
        variables[name] = xr.Variable(dims, values, json.loads(attrs["plumbline_attrs"]))
    if parts:
        raise CorruptStoreError(f"{source.path}: a component of {', '.join(parts)} is missing.")
    coordinates = set(json.loads(source.attrs["plumbline_coordinates"]))
    return xr.Dataset(
        {name: v for name, v in variables.items() if name not in coordinates},
        coords={name: v for name, v in variables.items() if name in coordinates},
        attrs=json.loads(source.attrs["plumbline_attrs"]),
    )


def _laid_out(
    name: str, variable: xr.Variable, dataset: xr.Dataset, taken: set[str]
) -> Iterator[tuple[str, xr.Variable, dict[str, Any]]]:
    """The arrays that a variable is written as: the name, the values and the description of each."""
    dims = json.dumps([str(d) for d in variable.dims])
    parts = _components(variable, dataset, taken) if name == "state" else None
    if parts:
        dim, written = parts
        for place, label in enumerate(written):
            yield label, variable.isel({dim: place}), {
                "dims": dims, "place": place, "parts": len(written), "axis": variable.dims.index(dim),
            }  # fmt: skip
        return
    usual = "tensor" if name == "state" else COORDINATES.get(name, name) if name in dataset.coords else name
    yield usual if usual == name or usual not in taken else name, variable, {"dims": dims}


def _components(variable: xr.Variable, dataset: xr.Dataset, taken: set[str]) -> tuple[str, list[str]] | None:
    """The dimension of the fields and the name of each; None if they have no names or these are taken."""
    for dim in ("component", "channel"):
        if dim not in variable.dims or dim not in dataset.coords:
            continue
        labels = [str(label) for label in dataset[dim].values]
        if set(labels) <= set(VELOCITIES) and dim == "component":
            labels = [VELOCITIES[label] for label in labels]
        others = taken | set(COORDINATES.values()) | {"tensor"}
        if len(set(labels)) == len(labels) and all(
            _is_name(label) and label not in others for label in labels
        ):
            return dim, labels
    return None


def _is_name(label: str) -> bool:
    return bool(label) and "/" not in label and label not in (".", "..") and "\0" not in label


def _write(
    file: h5py.File, name: str, variable: xr.Variable, reading: Callable[[], AbstractContextManager[None]]
) -> h5py.Dataset:
    """Creates an array and writes it block by block along its first dimension."""
    import h5py
    from dask.array.core import slices_from_chunks

    kind = variable.dtype.kind
    if kind in "Mm":
        with reading():
            moments = variable.values
        node = file.create_dataset(name, data=moments.view("<i8"))
        node.attrs["plumbline_dtype"] = str(variable.dtype)
        return node
    if kind in "UOT":
        with reading():
            texts = np.asarray(variable.values, dtype=object)
        if strange := [type(v).__name__ for v in texts.ravel() if not isinstance(v, str)]:
            raise ExportError(
                f"`{name}` holds objects ({strange[0]}), which HDF5 does not support: remove it, or store "
                "it as text."
            )
        if any("\0" in v for v in texts.ravel()):
            raise ExportError(f"`{name}` holds text with null characters, which HDF5 does not support.")
        return file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
    if kind not in "fiubc":
        raise ExportError(f"`{name}` has the type {variable.dtype}, which HDF5 does not support.")
    large = variable.ndim > 0 and variable.nbytes > COMPRESSED
    keys: dict[str, Any] = {"compression": "gzip", "shuffle": True, "chunks": True} if large else {}
    node = file.create_dataset(name, variable.shape, variable.dtype, **keys)
    if variable.chunks is None or variable.ndim == 0:
        with reading():
            values = variable.values
        node[()] = values
        return node
    for block in slices_from_chunks(variable.chunks):
        with reading():
            values = variable[block].values
        node[block] = values
    return node


def _restored(source: Source, name: str, dims: list[str], dtype: str | None) -> Any:
    """The values of an array, lazy along `sample`, with dates and text in their original type."""
    array = source.arrays[name]
    if dtype is not None:
        return source.values(name).view(dtype)
    if array.dtype.kind in "OS":
        values = source.values(name)
        flat = [v.decode() if isinstance(v, bytes) else v for v in values.ravel()]
        return np.array(flat, dtype=object).reshape(values.shape)
    return source.lazy(name, 0) if dims[:1] == ["sample"] else source.values(name)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else str(value)

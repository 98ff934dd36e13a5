"""Datasets as HDF5 in PDEBench's layout, there and back.

PDEBench (Takamoto et al., NeurIPS 2022) keeps a scalar field as `tensor` (sample, time, x, ...), velocities as
`Vx`, `Vy` (sample, time, x, y), and coordinates as `x-coordinate`, `y-coordinate`, `t-coordinate`. Files written
here hold what that layout lacks (splits, conditions, units) beside it, as further datasets and attributes, so
that they come back as they were; files of PDEBench itself are read by the layout alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from plumbline.store import CorruptStoreError

COORDINATES = {"time": "t-coordinate", "x": "x-coordinate", "y": "y-coordinate"}
COMPONENTS = ("Vx", "Vy")


def export_hdf5(dataset: xr.Dataset, path: Path) -> None:
    """Writes a dataset as HDF5, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with h5py.File(partial, "w") as file:
        for name, variable in dataset.variables.items():
            for written, values in _laid_out(str(name), variable):
                node = file.create_dataset(written, data=values, **_compression(values))
                node.attrs["plumbline_name"] = str(name)
                node.attrs["plumbline_dims"] = json.dumps([str(d) for d in variable.dims])
                node.attrs["plumbline_attrs"] = json.dumps(variable.attrs, default=_plain)
        file.attrs["plumbline_attrs"] = json.dumps(dataset.attrs, default=_plain)
        file.attrs["plumbline_coordinates"] = json.dumps([str(name) for name in dataset.coords])
    partial.rename(path)


def import_hdf5(path: Path) -> xr.Dataset:
    """Reads a file of `export_hdf5`, or one of PDEBench itself.

    Raises:
        CorruptStoreError: the file cannot be read, or has neither `tensor` nor `Vx` and `Vy`.
    """
    try:
        with h5py.File(path, "r") as file:
            if "plumbline_attrs" in file.attrs:
                return _own(file)
            return _pdebench(file, path)
    except OSError as error:
        raise CorruptStoreError(f"{path} is not a readable HDF5 file: {error}") from error


def _laid_out(name: str, variable: xr.Variable) -> list[tuple[str, np.ndarray]]:
    values = variable.values
    if name == "state":
        if "component" in variable.dims:
            axis = variable.dims.index("component")
            return [
                (c, np.take(values, i, axis))
                for i, c in zip(range(values.shape[axis]), COMPONENTS, strict=True)
            ]
        return [("tensor", values)]
    if values.dtype.kind in "UOT":
        values = np.array([str(v).encode() for v in values.ravel()]).reshape(values.shape)
    return [(COORDINATES.get(name, name), values)]


def _compression(values: np.ndarray) -> dict[str, Any]:
    return {"compression": "gzip", "shuffle": True, "chunks": True} if values.nbytes > 2**16 else {}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def _own(file: h5py.File) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for written, node in file.items():
        name = node.attrs["plumbline_name"]
        dims = json.loads(node.attrs["plumbline_dims"])
        attrs = json.loads(node.attrs["plumbline_attrs"])
        values = node[()]
        if values.dtype.kind == "S":
            values = np.char.decode(values).astype(object)
        if written == "Vx":
            values = np.stack([values, file["Vy"][()]], axis=dims.index("component"))
        if written != "Vy":
            variables[name] = (dims, values, attrs)
    coordinates = set(json.loads(file.attrs["plumbline_coordinates"]))
    data = {name: v for name, v in variables.items() if name not in coordinates}
    coords = {name: v for name, v in variables.items() if name in coordinates}
    return xr.Dataset(data, coords=coords, attrs=json.loads(file.attrs["plumbline_attrs"]))


def _pdebench(file: h5py.File, path: Path) -> xr.Dataset:
    if "tensor" in file:
        values = file["tensor"][()]
        dims = ("sample", "time", "x", "y")[: values.ndim]
    elif all(name in file for name in COMPONENTS):
        values = np.stack([file[name][()] for name in COMPONENTS], axis=2)
        dims = ("sample", "time", "component", "x", "y")
    else:
        raise CorruptStoreError(
            f"{path} has neither `tensor` nor `Vx` and `Vy`, as PDEBench files have; it has {', '.join(file)}."
        )
    sizes = dict(zip(dims, values.shape, strict=True))
    coords = {"sample": np.arange(sizes["sample"])}
    for name, written in COORDINATES.items():
        if written in file and name in sizes:
            # PDEBench writes one time more than there are states: the bounds of the last.
            coords[name] = file[written][: sizes[name]]
    if "component" in sizes:
        coords["component"] = np.array(["u", "v"], dtype=object)
    return xr.Dataset({"state": (dims, values)}, coords={n: (n, v) for n, v in coords.items()})

"""Stores: zarr v3 through xarray, written whole or not at all, with their provenance.

A dataset, or a set of samples, is a folder of parts; each part is one store, and together they open as one
lazy dataset. A store is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline import __version__
from plumbline.storage.origins import commit_of

if TYPE_CHECKING:
    import xarray as xr

CHUNK_BYTES = 4 * 2**20
"""Target size of a chunk, in whole samples: small enough to read a part of, large enough to compress."""

LIBRARIES = ("torch", "azula", "numpy", "xarray", "zarr", "cantera")


class CorruptStoreError(RuntimeError):
    """A store that cannot be read, or lacks what it should hold."""


def write_store(dataset: xr.Dataset, path: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Writes a dataset as a zarr v3 store, replacing one that is there and what a killed job left of it.

    Args:
        dataset: what to write.
        path: the folder of the store.
        provenance: attributes to add, as by `provenance`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left_over in path.parent.glob(f".{path.name}.*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    prepared = dataset.assign_attrs({**dataset.attrs, **(provenance or {})}).drop_encoding()
    # Strings of fixed length have no specification in zarr v3; those of variable length do.
    texts = {name: v.astype(object) for name, v in prepared.variables.items() if v.dtype.kind in "UT"}
    prepared = prepared.assign({name: v for name, v in texts.items() if name in prepared.data_vars})
    prepared = prepared.assign_coords({name: v for name, v in texts.items() if name in prepared.coords})
    encoding = {name: _encoding(variable) for name, variable in prepared.variables.items()}
    prepared.to_zarr(partial, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
    if path.exists():
        retired = path.with_name(f".{path.name}.{os.getpid()}.retired")
        path.rename(retired)
        partial.rename(path)
        shutil.rmtree(retired)
    else:
        partial.rename(path)


def open_store(path: str | Path) -> xr.Dataset:
    """A store as a lazy dataset.

    Raises:
        CorruptStoreError: there is no readable store at this path.
    """
    import xarray as xr

    try:
        with warnings.catch_warnings():
            # Snakemake leaves its time stamp in the folders that jobs make.
            warnings.filterwarnings("ignore", message=r"Object at \.snakemake_timestamp")
            return xr.open_zarr(path, consolidated=False, chunks={})
    except Exception as error:
        raise CorruptStoreError(
            f"{path} is not a readable store ({type(error).__name__}: {error}). Delete it and run the workflow "
            f"again: the job that makes it will be rerun."
        ) from error


def open_parts(paths: Iterable[str | Path]) -> xr.Dataset:
    """Parts as one lazy dataset along `sample`; variables without samples are those of the first part.

    Raises:
        CorruptStoreError: a part cannot be read, or the parts do not fit together.
    """
    import xarray as xr

    parts = [open_store(path) for path in paths]
    if not parts:
        raise CorruptStoreError("no parts were given.")
    try:
        return xr.concat(
            parts, dim="sample", data_vars="minimal", coords="minimal", compat="override", join="exact",
            combine_attrs="override",
        )  # fmt: skip
    except ValueError as error:
        raise CorruptStoreError(
            f"the parts of {parts[0].encoding.get('source')} do not fit: {error}"
        ) from error


def select_split(dataset: xr.Dataset, split: str) -> xr.Dataset:
    """The samples of one split, read into memory.

    Raises:
        CorruptStoreError: the split has no samples.
    """
    mask = dataset["split"].values == split
    if not mask.any():
        raise CorruptStoreError(f"the dataset has no sample in the split {split!r}.")
    return dataset.isel(sample=np.flatnonzero(mask)).load()


def provenance(spec: str, device: str = "cpu", started: float | None = None) -> dict[str, Any]:
    """Attributes that say where a store comes from.

    Args:
        spec: the slice of the study, as JSON.
        device: where the work was done.
        started: `time.perf_counter()` at the start of the work, for the wall time.
    """
    return {
        "plumbline_spec": spec,
        "plumbline_spec_sha256": hashlib.sha256(spec.encode()).hexdigest(),
        "plumbline_version": __version__,
        "plumbline_commit": commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "host": platform.machine(),
        "python": platform.python_version(),
        **({"wall_time_seconds": round(time.perf_counter() - started, 3)} if started is not None else {}),
        **{f"version_{name}": found for name, found in library_versions().items()},
    }


def is_provenance(attribute: str) -> bool:
    """Whether an attribute of this name is one that `provenance` writes."""
    own = ("created", "device", "host", "python", "wall_time_seconds")
    written = {"plumbline_spec", "plumbline_spec_sha256", "plumbline_version", "plumbline_commit", *own}
    return attribute in written | {f"version_{name}" for name in LIBRARIES}


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide results."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """The commit of the library that runs, with a digest of its changes where it has any."""
    return commit_of(Path(__file__).parent)


def chunk_shape(variable: xr.Variable) -> tuple[int, ...]:
    """The shape of a variable's chunks: whole samples, about `CHUNK_BYTES` of them."""
    sample_bytes = int(np.prod(variable.shape[1:], dtype=np.int64)) * variable.dtype.itemsize
    samples = max(1, min(variable.shape[0], CHUNK_BYTES // max(sample_bytes, 1)))
    return (samples, *variable.shape[1:])


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    """Chunks of whole samples; floats are shuffled before compression, which is what makes them compress."""
    from zarr.codecs import BloscCodec

    if variable.dtype.kind not in "fiub" or variable.ndim == 0:
        return {}
    shuffle = "shuffle" if variable.dtype.kind == "f" else "noshuffle"
    return {
        "chunks": chunk_shape(variable),
        "compressors": [BloscCodec(cname="zstd", clevel=3, shuffle=shuffle)],
    }

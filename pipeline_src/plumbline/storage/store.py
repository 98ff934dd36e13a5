"""Zarr v3 stores, written through xarray atomically and with their provenance.

A dataset or a set of samples is a folder of parts. Each part is one store, and together they open as one lazy
dataset. A store is written under a temporary name, flushed to disk, and renamed when it is complete.

Damage is detected when a store is read. Every chunk has a checksum (CRC-32C). Every chunk is written, even if
it contains only the fill value, so a missing chunk is an error. An attribute is a digest of all metadata.

Two processes may write the same store, if a job keeps running after Snakemake was killed and is started
again. Each writes under its own temporary name. The process that finishes later finds the store and keeps it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline import __version__
from plumbline.storage import CorruptStoreError
from plumbline.storage.origins import commit_of
from plumbline.storage.partial import partial_of, remove_left_overs, writer

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline")

METADATA = "plumbline_metadata"
"""Name of the attribute with the digest of all metadata of a store."""
CHUNK_BYTES = 4 * 2**20
"""Target size of a chunk: small enough to read parts of a store, large enough to compress."""
LARGEST_CHUNK_BYTES = 64 * 2**20
"""Largest size of a chunk; larger samples are divided, because a chunk must fit into memory."""

EVERY = slice(None)

LIBRARIES = ("torch", "azula", "numpy", "xarray", "zarr", "cantera")


def write_store(
    dataset: xr.Dataset,
    path: str | Path,
    provenance: dict[str, Any] | None = None,
    *,
    chunks: Path | None = None,
) -> None:
    """Writes a dataset as a zarr v3 store, replacing an existing store.

    A store that another process wrote from the same settings in the meantime is not replaced.

    Args:
        dataset: the dataset to write. Attributes of the user with the name of a provenance attribute are
            stored as `source_...`.
        path: folder of the store.
        provenance: attributes to add, as returned by `provenance`.
        chunks: a zarr group with the chunks of the lazy variables, which are moved into the store; None to
            compute these variables.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path)
    partial = partial_of(path)
    prepared = dataset.assign_attrs(
        {**_as_source(dataset.attrs, provenance), **(provenance or {})}
    ).drop_encoding()
    # Zarr v3 specifies strings of variable length, but not of fixed length.
    texts = {name: v.astype(object) for name, v in prepared.variables.items() if v.dtype.kind in "UT"}
    prepared = prepared.assign({name: v for name, v in texts.items() if name in prepared.data_vars})
    prepared = prepared.assign_coords({name: v for name, v in texts.items() if name in prepared.coords})
    encoding = {name: encoding_of(variable) for name, variable in prepared.variables.items()}
    try:
        options: dict[str, Any] = {"compute": chunks is None, "write_empty_chunks": True}
        prepared.to_zarr(partial, mode="w", zarr_format=3, consolidated=False, encoding=encoding, **options)
        if chunks is not None:
            for name in (name for name, v in prepared.variables.items() if v.chunks is not None):
                (chunks / str(name) / "c").rename(partial / str(name) / "c")
        _seal(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    flush(partial)
    if _made_meanwhile(path, prepared.attrs):
        logger.info(
            "%s was written by another process in the meantime, from the same settings: it is kept.", path
        )
        shutil.rmtree(partial)
        return
    try:
        _put_in_place(partial, path)
    except OSError:
        # Another process may have written the store since the last check.
        made = _made_meanwhile(path, prepared.attrs)
        shutil.rmtree(partial, ignore_errors=True)
        if not made:
            raise


def _as_source(attrs: dict[Any, Any], provenance: dict[str, Any] | None) -> dict[Any, Any]:
    """The user's attributes, with the prefix `source_` if they have a name of provenance."""
    if not provenance or "plumbline_spec" in attrs:
        return attrs
    return {f"source_{name}" if name in provenance else name: value for name, value in attrs.items()}


def _put_in_place(partial: Path, path: Path) -> None:
    """Renames a complete store to its path, after moving an existing store away."""
    if path.exists():
        retired = path.with_name(f".{path.name}.{writer()}.retired")
        path.rename(retired)
        partial.rename(path)
        shutil.rmtree(retired)
    else:
        partial.rename(path)


def replace_durably(partial: Path, path: Path) -> None:
    """Renames a file after its content is flushed to disk, so that `path` is never an incomplete file."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def flush(path: Path) -> None:
    """Flushes everything written below `path` to disk, with one call for its file system."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None).syncfs(descriptor):
            os.sync()
    except (AttributeError, OSError):
        os.sync()
    finally:
        os.close(descriptor)


def _made_meanwhile(path: Path, attrs: dict[Any, Any]) -> bool:
    """Whether another process wrote this store, with the same settings, since this job started."""
    if "plumbline_spec" not in attrs or "wall_time_seconds" not in attrs:
        return False
    since = time.time() - float(attrs["wall_time_seconds"])
    return is_written(path, str(attrs["plumbline_spec"]), since)


def is_written(path: Path, spec: str, since: float) -> bool:
    """Whether a complete store was written from these settings at or after a time, as of `time.time()`."""
    try:
        root = path / "zarr.json"
        if root.stat().st_mtime < since:
            return False
        return bool(json.loads(root.read_text())["attributes"]["plumbline_spec"] == spec)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _seal(path: Path) -> None:
    """Adds the digest of all metadata to the attributes."""
    root = path / "zarr.json"
    metadata = json.loads(root.read_text())
    metadata["attributes"][METADATA] = _metadata_digest(path, metadata)
    root.write_text(json.dumps(metadata, indent=2))


def _metadata_digest(path: Path, metadata: dict[str, Any]) -> str:
    attributes = {name: value for name, value in metadata["attributes"].items() if name != METADATA}
    digest = hashlib.sha256(json.dumps(attributes, sort_keys=True).encode())
    for file in sorted(path.glob("*/zarr.json")):
        digest.update(file.parent.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Converts any error while a store of plumbline is read into one that names the store.

    Raises:
        CorruptStoreError: instead of any other error.
    """
    try:
        yield
    except CorruptStoreError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no further reason"
        raise CorruptStoreError(_damaged(path, f"{type(error).__name__}: {reason}")) from error


def _damaged(path: str | Path, reason: str) -> str:
    return (
        f"{path} is not a readable store ({reason}). Delete it and run the workflow again: the job that "
        "writes it will be rerun."
    )


def open_store(path: str | Path, *, chunked: bool = True) -> xr.Dataset:
    """Opens a store of plumbline as a lazy dataset whose chunks are checked when they are read.

    Args:
        path: folder of the store.
        chunked: whether variables are dask arrays with the chunks of the store. Otherwise a slice is read at
            once when its values are asked for, which takes less time for a few of them.

    Raises:
        CorruptStoreError: there is no readable store at this path, or its metadata is damaged.
    """
    import xarray as xr

    from plumbline.storage.checked import CheckedStore

    with reading(path), warnings.catch_warnings():
        # Snakemake writes a time stamp to the folders that jobs create.
        warnings.filterwarnings("ignore", message=r"Object at \.snakemake_timestamp")
        if not (root := Path(path) / "zarr.json").is_file():
            raise CorruptStoreError(_damaged(path, "there is no zarr.json"))
        metadata = json.loads(root.read_text())
        expected = metadata.get("attributes", {}).get(METADATA)
        if expected is not None and expected != _metadata_digest(Path(path), metadata):
            raise CorruptStoreError(_damaged(path, "its metadata is not what was written"))
        chunks: dict[str, int] | None = {} if chunked else None
        opened = xr.open_zarr(CheckedStore(Path(path), read_only=True), consolidated=False, chunks=chunks)
        opened.attrs.pop(METADATA, None)
        return opened


def load_store(path: str | Path) -> xr.Dataset:
    """Reads a store of plumbline into memory.

    Raises:
        CorruptStoreError: the store is missing or damaged.
    """
    with reading(path):
        return open_store(path).load()


def open_parts(paths: Iterable[str | Path]) -> xr.Dataset:
    """Opens parts as one lazy dataset along `sample`, with other variables from the first part.

    Raises:
        CorruptStoreError: a part cannot be read, or the parts do not fit together.
    """
    import xarray as xr

    named = [Path(path) for path in paths]
    parts = [open_store(path) for path in named]
    if not parts:
        raise CorruptStoreError("no parts were given.")
    try:
        whole = xr.concat(
            parts, dim="sample", data_vars="minimal", coords="minimal", compat="override", join="exact",
            combine_attrs="override",
        )  # fmt: skip
    except ValueError as error:
        raise CorruptStoreError(
            f"the parts in {named[0].parent} do not fit together ({error}). Delete them and run the "
            "workflow again."
        ) from error
    whole.encoding["source"] = str(named[0].parent)
    return whole


def load_parts(paths: Iterable[str | Path]) -> xr.Dataset:
    """Reads parts into memory as one dataset along `sample`.

    Raises:
        CorruptStoreError: a part cannot be read, or the parts do not fit together.
    """
    named = [Path(path) for path in paths]
    with reading(named[0].parent if named else "the parts"):
        return open_parts(named).load()


def select_split(dataset: xr.Dataset, split: str, chosen: np.ndarray | slice = EVERY) -> xr.Dataset:
    """Reads the samples of one split into memory, or those of them that are chosen.

    Args:
        dataset: the dataset, which may be lazy.
        split: name of the split.
        chosen: places of the samples in the split.

    Raises:
        CorruptStoreError: the split has no samples, or they cannot be read.
    """
    mask = dataset["split"].values == split
    if not mask.any():
        raise CorruptStoreError(f"the dataset has no sample in the split {split!r}.")
    with reading(dataset.encoding.get("source", "the dataset")):
        return dataset.isel(sample=np.flatnonzero(mask)[chosen]).load()


def provenance(spec: str, device: str = "cpu", started: float | None = None) -> dict[str, Any]:
    """Attributes that describe how a store was made: settings, versions, time and machine.

    Args:
        spec: the slice of the study, as JSON.
        device: device of the computation.
        started: `time.perf_counter()` at the start of the computation, for the wall time; None for no wall
            time.
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
    """Whether `provenance` writes an attribute of this name."""
    own = ("created", "device", "host", "python", "wall_time_seconds")
    written = {"plumbline_spec", "plumbline_spec_sha256", "plumbline_version", "plumbline_commit", *own}
    return attribute in written | {f"version_{name}" for name in LIBRARIES}


@cache
def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that influence results."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """The commit of this library, with a digest of uncommitted changes if there are any."""
    return commit_of(Path(__file__).parents[1])


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The shape of the chunks of an array, from its shape and the size of an entry in bytes.

    A chunk contains about `CHUNK_BYTES` of whole samples. Samples over `LARGEST_CHUNK_BYTES` are divided.
    """
    chunk: list[int] = []
    size = itemsize
    for length in reversed(shape[1:]):
        chunk.insert(0, max(1, min(length, LARGEST_CHUNK_BYTES // max(size, 1))))
        size *= chunk[0]
    return (max(1, min(shape[0], CHUNK_BYTES // max(size, 1))), *chunk)


def encoding_of(variable: xr.Variable) -> dict[str, Any]:
    """The chunks and compressors of a variable; shuffling the bytes of floats makes them compressible."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    if variable.dtype.kind not in "fiub" or variable.ndim == 0:
        return {"compressors": [Crc32cCodec()]}
    shuffle = "shuffle" if variable.dtype.kind == "f" else "noshuffle"
    return {
        "chunks": chunk_shape(variable.shape, variable.dtype.itemsize),
        "compressors": [BloscCodec(cname="zstd", clevel=3, shuffle=shuffle), Crc32cCodec()],
    }

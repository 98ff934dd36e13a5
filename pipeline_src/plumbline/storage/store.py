"""Stores: zarr v3 through xarray, written whole or not at all, with their provenance.

A dataset, or a set of samples, is a folder of parts; each part is one store, and together they open as one
lazy dataset. A store is written under a temporary name, flushed to the disk, and renamed when it is complete.

Damage is noticed when a store is read. Every chunk carries a checksum (CRC-32C), and every chunk is written, also one that
holds the fill value alone, so that a missing chunk is damage. A digest of all metadata stands among the attributes.

Two processes may write the same store, where a job lives on after Snakemake was killed and is started again. Each writes
under a name of its own; the one that ends later finds the result there and keeps it.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import logging
import os
import platform
import shutil
import socket
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

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline")

ABANDONED = 24 * 3600.0
"""Seconds after which what another machine left half-written is taken for abandoned."""
METADATA = "plumbline_metadata"
"""Attribute with the digest of all metadata of a store."""

CHUNK_BYTES = 4 * 2**20
"""Target size of a chunk, in whole samples: small enough to read a part of, large enough to compress."""

LARGEST_CHUNK_BYTES = 64 * 2**20
"""Size of a chunk over which a sample is divided: what is worked on at once has to fit into memory."""

LIBRARIES = ("torch", "azula", "numpy", "xarray", "zarr", "cantera")


def write_store(dataset: xr.Dataset, path: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Writes a dataset as a zarr v3 store, replacing one that was there before the work on this one began.

    Args:
        dataset: what to write. Attributes of the user's that have the names of provenance are kept as `source_...`.
        path: the folder of the store.
        provenance: attributes to add, as by `provenance`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path)
    partial = partial_of(path)
    prepared = dataset.assign_attrs(
        {**_as_source(dataset.attrs, provenance), **(provenance or {})}
    ).drop_encoding()
    # Strings of fixed length have no specification in zarr v3; those of variable length do.
    texts = {name: v.astype(object) for name, v in prepared.variables.items() if v.dtype.kind in "UT"}
    prepared = prepared.assign({name: v for name, v in texts.items() if name in prepared.data_vars})
    prepared = prepared.assign_coords({name: v for name, v in texts.items() if name in prepared.coords})
    encoding = {name: _encoding(variable) for name, variable in prepared.variables.items()}
    try:
        prepared.to_zarr(
            partial, mode="w", zarr_format=3, consolidated=False, encoding=encoding, write_empty_chunks=True
        )
        _seal(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    flush(partial)
    if _made_meanwhile(path, prepared.attrs):
        logger.info("%s was written by another process meanwhile, from the same settings: it is kept.", path)
        shutil.rmtree(partial)
        return
    try:
        _put_in_place(partial, path)
    except OSError:
        # Another writer may have come between the last look and the renaming.
        made = _made_meanwhile(path, prepared.attrs)
        shutil.rmtree(partial, ignore_errors=True)
        if not made:
            raise


def _as_source(attrs: dict[Any, Any], provenance: dict[str, Any] | None) -> dict[Any, Any]:
    """The user's attributes, of which those that are called as ours are get the prefix `source_`."""
    if not provenance or "plumbline_spec" in attrs:
        return attrs
    return {f"source_{name}" if name in provenance else name: value for name, value in attrs.items()}


def _put_in_place(partial: Path, path: Path) -> None:
    """Renames a whole store into place, and the one that is there out of its way."""
    if path.exists():
        retired = path.with_name(f".{path.name}.{writer()}.retired")
        path.rename(retired)
        partial.rename(path)
        shutil.rmtree(retired)
    else:
        partial.rename(path)


def writer() -> str:
    """The name of this process among those that may write to a shared disk: machine and process number."""
    return f"{socket.gethostname()}.{os.getpid()}"


def partial_of(path: Path) -> Path:
    """Where this process writes what is to be renamed to `path`."""
    return path.with_name(f".{path.name}.{writer()}.partial")


def is_alive(name: str, touched: float) -> bool:
    """Whether the writer of this name may still be at work: one of this machine that runs, or one of another that wrote lately.

    Args:
        name: as `writer` gives it.
        touched: when it last wrote, in seconds of `time.time()`.
    """
    host, _, process = name.rpartition(".")
    if host == socket.gethostname() and process.isdigit():
        return _runs(int(process))
    return time.time() - touched < ABANDONED


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_left_overs(path: Path) -> None:
    """Removes what dead writers left beside a store or file: never what a live one is writing."""
    for left_over in path.parent.glob(f".{path.name}.*"):
        name = left_over.name.removeprefix(f".{path.name}.").rpartition(".")[0]
        try:
            touched = max(p.stat().st_mtime for p in (left_over, *left_over.rglob("*")))
        except FileNotFoundError:
            continue  # its writer has renamed it
        if is_alive(name, touched):
            continue
        if left_over.is_dir():
            shutil.rmtree(left_over, ignore_errors=True)
        else:
            left_over.unlink(missing_ok=True)


def replace_durably(partial: Path, path: Path) -> None:
    """Renames a file once its content is on the disk, so that the name never stands for half of it."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def flush(path: Path) -> None:
    """Has the disk hold what was written below `path`: one call for the file system that it lies on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None).syncfs(descriptor):
            os.sync()
    except (AttributeError, OSError):
        os.sync()
    finally:
        os.close(descriptor)


def _made_meanwhile(path: Path, attrs: dict[Any, Any]) -> bool:
    """Whether a whole store from the same settings has come to stand at `path` while this one was made."""
    if "plumbline_spec" not in attrs or "wall_time_seconds" not in attrs:
        return False
    try:
        root = path / "zarr.json"
        if root.stat().st_mtime < time.time() - float(attrs["wall_time_seconds"]):
            return False
        return bool(json.loads(root.read_text())["attributes"]["plumbline_spec"] == attrs["plumbline_spec"])
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
    """Turns whatever goes wrong while a store of ours is read into an error that names it.

    Raises:
        CorruptStoreError: in place of any other error.
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
        f"{path} is not a readable store ({reason}). Delete it and run the workflow again: the job that makes it will be "
        f"rerun."
    )


def open_store(path: str | Path) -> xr.Dataset:
    """A store of ours as a lazy dataset, whose chunks are checked as they are read.

    Raises:
        CorruptStoreError: there is no readable store at this path, or its metadata is not what was written.
    """
    import xarray as xr

    from plumbline.storage.checked import CheckedStore

    with reading(path), warnings.catch_warnings():
        # Snakemake leaves its time stamp in the folders that jobs make.
        warnings.filterwarnings("ignore", message=r"Object at \.snakemake_timestamp")
        if not (root := Path(path) / "zarr.json").is_file():
            raise CorruptStoreError(_damaged(path, "there is no zarr.json"))
        metadata = json.loads(root.read_text())
        expected = metadata.get("attributes", {}).get(METADATA)
        if expected is not None and expected != _metadata_digest(Path(path), metadata):
            raise CorruptStoreError(_damaged(path, "its metadata is not what was written"))
        opened = xr.open_zarr(CheckedStore(Path(path), read_only=True), consolidated=False, chunks={})
        opened.attrs.pop(METADATA, None)
        return opened


def load_store(path: str | Path) -> xr.Dataset:
    """A store of ours, read into memory.

    Raises:
        CorruptStoreError: it cannot be read whole.
    """
    with reading(path):
        return open_store(path).load()


def open_parts(paths: Iterable[str | Path]) -> xr.Dataset:
    """Parts as one lazy dataset along `sample`; variables without samples are those of the first part.

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
            f"the parts in {named[0].parent} do not fit together ({error}). Delete them and run the workflow again."
        ) from error
    whole.encoding["source"] = str(named[0].parent)
    return whole


def load_parts(paths: Iterable[str | Path]) -> xr.Dataset:
    """Parts as one dataset in memory.

    Raises:
        CorruptStoreError: as `open_parts` does, or a chunk is damaged.
    """
    named = [Path(path) for path in paths]
    with reading(named[0].parent if named else "the parts"):
        return open_parts(named).load()


def select_split(dataset: xr.Dataset, split: str) -> xr.Dataset:
    """The samples of one split, read into memory.

    Raises:
        CorruptStoreError: the split has no samples.
    """
    mask = dataset["split"].values == split
    if not mask.any():
        raise CorruptStoreError(f"the dataset has no sample in the split {split!r}.")
    with reading(dataset.encoding.get("source", "the dataset")):
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
    return commit_of(Path(__file__).parents[1])


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The shape of an array's chunks: about `CHUNK_BYTES` of whole samples, and parts of samples over `LARGEST_CHUNK_BYTES`."""
    chunk: list[int] = []
    size = itemsize
    for length in reversed(shape[1:]):
        chunk.insert(0, max(1, min(length, LARGEST_CHUNK_BYTES // max(size, 1))))
        size *= chunk[0]
    return (max(1, min(shape[0], CHUNK_BYTES // max(size, 1))), *chunk)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    """Chunks of whole samples; floats are shuffled before compression, which is what makes them compress."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    if variable.dtype.kind not in "fiub" or variable.ndim == 0:
        return {"compressors": [Crc32cCodec()]}
    shuffle = "shuffle" if variable.dtype.kind == "f" else "noshuffle"
    return {
        "chunks": chunk_shape(variable.shape, variable.dtype.itemsize),
        "compressors": [BloscCodec(cname="zstd", clevel=3, shuffle=shuffle), Crc32cCodec()],
    }

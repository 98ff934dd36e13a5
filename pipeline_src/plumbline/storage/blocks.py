"""Stores that are written block by block, of data that need not fit into memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plumbline.storage.partial import writer
from plumbline.storage.store import chunk_shape, open_parts, reading, remove_left_overs, write_store

if TYPE_CHECKING:
    import xarray as xr


def write_in_blocks(
    blocks: Iterator[xr.Dataset], path: Path, provenance: Callable[[], dict[str, Any]]
) -> None:
    """Writes blocks of samples as one store, the same as of the whole dataset.

    Several blocks are first written to stores of their own beside the new one, and then joined chunk by
    chunk. This takes twice the space on disk for a while.

    Args:
        blocks: the blocks along `sample`, in order.
        path: folder of the store.
        provenance: returns the attributes to add, once all blocks are there.
    """
    first = next(blocks)
    second = next(blocks, None)
    if second is None:
        write_store(first, path, provenance())
        return
    import dask

    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path)
    folder = path.with_name(f".{path.name}.{writer()}.blocks")
    try:
        written: list[Path] = []
        block: xr.Dataset | None = first
        del first
        while block is not None:
            written.append(folder / f"{len(written):06d}.zarr")
            write_store(block, written[-1])
            block, second = (second, None) if second is not None else (next(blocks, None), None)
        # One chunk at a time, because a pool of threads would hold several in memory.
        with reading(folder), dask.config.set(scheduler="synchronous"):
            joined = open_parts(written)
            others = {name: v.load() for name, v in joined.variables.items() if v.dtype.kind not in "fiub"}
            write_store(in_chunks(joined.assign(others)), path, provenance())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_chunks(data: xr.Dataset) -> xr.Dataset:
    """A lazy dataset with the chunks of the store that it is written to."""
    chunked = {
        name: variable.chunk(
            dict(zip(variable.dims, chunk_shape(variable.shape, variable.dtype.itemsize), strict=True))
        )
        for name, variable in data.variables.items()
        if variable.chunks is not None and name not in data.coords
    }
    return data.assign(chunked)

"""Stores that are written block by block, of data that need not fit into memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.storage.partial import remove_left_overs, writer
from plumbline.storage.store import chunk_shape, encoding_of, write_store

if TYPE_CHECKING:
    import xarray as xr
    import zarr

HELD_BYTES = 2**25
"""Largest size of samples that are held until all of them are there."""


def write_in_blocks(
    blocks: Iterable[xr.Dataset], count: int, path: Path, provenance: Callable[[], dict[str, Any]]
) -> None:
    """Writes blocks of samples as one store, the same as of the whole dataset.

    The numeric variables along `sample` are written chunk by chunk as the blocks arrive, to a folder beside
    the store, from which the chunks are moved into the complete store. Other variables, such as text and
    coordinates, are held in memory.

    Args:
        blocks: the blocks along `sample`, in order. They have the same variables. Attributes of variables,
            and variables without `sample`, are those of the first block; attributes of the dataset are those
            of the last one.
        count: the number of samples in all blocks.
        path: folder of the store.
        provenance: returns the attributes to add, once all blocks are there.

    Raises:
        ValueError: the blocks have another number of samples in total, or differ in their variables.
    """
    arriving = iter(blocks)
    held: list[xr.Dataset] = []
    while sum(block.nbytes for block in held) <= HELD_BYTES:
        block = next(arriving, None)
        if block is None:
            whole = joined(held)
            _require_count(whole.sizes["sample"], count, path)
            write_store(whole, path, provenance())
            return
        held.append(block)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_overs(path)
    folder = path.with_name(f".{path.name}.{writer()}.blocks")
    try:
        outline = _write_chunks(chain(_emptied(held), arriving), count, folder)
        write_store(outline, path, provenance(), chunks=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def joined(blocks: list[xr.Dataset]) -> xr.Dataset:
    """Blocks as one dataset along `sample`, with the attributes of the last one.

    Variables without `sample` and the attributes of variables are those of the first block.
    """
    import xarray as xr

    if len(blocks) == 1:
        return blocks[0]
    if not any("sample" in variable.dims for variable in blocks[0].variables.values()):
        return blocks[0].assign_attrs(blocks[-1].attrs)
    whole = xr.concat(
        blocks, dim="sample", data_vars="minimal", coords="minimal", compat="override", join="exact",
        combine_attrs="override",
    )  # fmt: skip
    whole.attrs = dict(blocks[-1].attrs)
    return whole


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


def _write_chunks(blocks: Iterator[xr.Dataset], count: int, folder: Path) -> xr.Dataset:
    """Writes the chunks of the numeric variables along `sample` to a zarr group.

    Returns:
        The dataset, in which these variables are lazy and have no values.

    Raises:
        ValueError: the blocks have another number of samples in total, or differ in their variables.
    """
    import zarr

    first = next(blocks)
    streamed = [
        name
        for name, variable in first.data_vars.items()
        if variable.dims[:1] == ("sample",) and variable.dtype.kind in "fiub"
    ]
    outline = first[streamed].drop_vars(list(first.coords)).assign(
        {name: _outline(first[name].variable, count) for name in streamed}
    )  # fmt: skip
    encoding = {name: encoding_of(variable) for name, variable in outline.variables.items()}
    outline.to_zarr(folder, mode="w", zarr_format=3, consolidated=False, encoding=encoding, compute=False)
    expected = _layout(first)
    blocks = chain(_emptied([first]), blocks)
    del first
    others: list[xr.Dataset] = []
    written = 0
    with zarr.config.set({"array.write_empty_chunks": True}):
        group = zarr.open_group(folder, mode="r+")
        rows = {name: _Rows(group[str(name)]) for name in streamed}
        for block in blocks:
            if (found := _layout(block)) != expected:
                different = sorted({str(name) for name, _ in found.items() ^ expected.items()})
                raise ValueError(f"{folder}: blocks differ in shape or type of: {', '.join(different)}.")
            for name in streamed:
                rows[name].add(block[name].values)
            others.append(block.drop_vars(streamed))
            written += block.sizes["sample"]
            del block  # before the next one is drawn
        for one in rows.values():
            one.finish()
    _require_count(written, count, folder)
    return joined(others).assign(outline.data_vars)


class _Rows:
    """Writes the rows of an array in whole chunks, and holds copies of those that fill no chunk yet.

    Args:
        array: the array to write.
    """

    def __init__(self, array: zarr.Array) -> None:
        self.array, self.length = array, array.chunks[0]
        self.held: list[np.ndarray] = []
        self.written = 0

    def add(self, values: np.ndarray) -> None:
        """Adds the next rows."""
        if self.held:
            missing = self.length - sum(map(len, self.held))
            self.held.append(values[:missing].copy())
            if len(values) < missing:
                return
            self.finish()
            values = values[missing:]
        whole = len(values) // self.length * self.length
        self._write(values[:whole])
        if whole < len(values):
            self.held = [values[whole:].copy()]

    def finish(self) -> None:
        """Writes the rows that are held."""
        if self.held:
            self._write(np.concatenate(self.held))
            self.held = []

    def _write(self, rows: np.ndarray) -> None:
        if len(rows):
            self.array[self.written : self.written + len(rows)] = rows
            self.written += len(rows)


def _outline(variable: xr.Variable, count: int) -> xr.Variable:
    """A lazy variable with `count` samples and the chunks of its store, whose values are never computed."""
    import dask.array as da
    import xarray as xr

    shape = (count, *variable.shape[1:])
    data = da.zeros(shape, dtype=variable.dtype, chunks=chunk_shape(shape, variable.dtype.itemsize))
    return xr.Variable(variable.dims, data, variable.attrs)


def _layout(block: xr.Dataset) -> dict[object, tuple[object, ...]]:
    """Dimensions, sizes other than the number of samples, and type of each variable."""
    return {
        name: (v.dims, tuple(n for d, n in v.sizes.items() if d != "sample"), v.dtype.str)
        for name, v in block.variables.items()
        if v.dtype.kind in "fiub"
    }


def _emptied(blocks: list[xr.Dataset]) -> Iterator[xr.Dataset]:
    """Yields and removes the blocks one after another."""
    while blocks:
        yield blocks.pop(0)


def _require_count(found: int, expected: int, path: Path) -> None:
    if found != expected:
        raise ValueError(f"{path}: the blocks have {found} samples, expected {expected}.")

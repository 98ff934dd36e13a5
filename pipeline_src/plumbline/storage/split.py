"""One split of a dataset on disk, read block by block.

A block is what one chunk of the largest variable holds of the split. Reading whole blocks decompresses each
chunk of that variable once. Chunks are checked as they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from plumbline.storage import CorruptStoreError
from plumbline.storage.store import open_store, reading


@dataclass(frozen=True)
class Block:
    """Samples of a split that lie in one chunk of one part.

    Attributes:
        part: index of the part.
        rows: their rows in the part, increasing.
        first: the index in the split of the first of them; the others follow.
    """

    part: int
    rows: np.ndarray
    first: int

    def __len__(self) -> int:
        return len(self.rows)


class StoredSplit:
    """The numeric variables along `sample` of one split, in the parts of a dataset.

    Args:
        parts: the parts of the dataset.
        split: name of the split.
        samples: number of samples to use, from the start of the split; None for all.

    Attributes:
        names: names of the variables.
        count: number of samples.
        sample_bytes: size of one sample of each variable in bytes.
        blocks: the blocks, in the order of the samples.

    Raises:
        CorruptStoreError: a part cannot be read, or the split has no samples.
    """

    def __init__(self, parts: Sequence[Path], split: str, samples: int | None = None) -> None:
        self.paths = [Path(path) for path in parts]
        self.stored = [open_store(path, chunked=False) for path in self.paths]
        example = self.stored[0]
        self.names = [str(name) for name, variable in example.data_vars.items() if is_numeric(variable)]
        self.shapes = {name: example[name].shape[1:] for name in self.names}
        self.dtypes = {name: example[name].dtype for name in self.names}
        self.sample_bytes = {
            name: int(np.prod(self.shapes[name], dtype=np.int64)) * self.dtypes[name].itemsize
            for name in self.names
        }
        self.largest = max(self.names, key=lambda name: self.sample_bytes[name])
        self.blocks = list(self._blocks(split, samples))
        self.count = sum(map(len, self.blocks))
        if not self.count:
            raise CorruptStoreError(f"the dataset has no sample in the split {split!r}.")

    @property
    def nbytes(self) -> int:
        """The size of all samples in bytes."""
        return self.count * sum(self.sample_bytes.values())

    def read(self, block: Block, name: str) -> np.ndarray:
        """The values (samples, ...) of a variable in a block.

        Raises:
            CorruptStoreError: a chunk is missing or damaged.
        """
        start, stop = int(block.rows[0]), int(block.rows[-1]) + 1
        with reading(self.paths[block.part]):
            values: np.ndarray = self.stored[block.part][name].variable[start:stop].values
        return values if stop - start == len(block) else values[block.rows - start]

    def whole(self, name: str) -> np.ndarray:
        """All values (samples, ...) of a variable, such as a label.

        Raises:
            CorruptStoreError: a chunk is missing or damaged.
        """
        values = np.empty((self.count, *self.shapes[name]), self.dtypes[name])
        for block in _joined(self.blocks):
            values[block.first : block.first + len(block)] = self.read(block, name)
        return values

    def _blocks(self, split: str, samples: int | None) -> Iterator[Block]:
        first = 0
        for part, stored in enumerate(self.stored):
            with reading(self.paths[part]):
                rows = np.flatnonzero(stored["split"].values == split)
            if samples is not None:
                rows = rows[: samples - first]
            if not len(rows):
                continue
            length = stored[self.largest].encoding["chunks"][0]
            for own in np.split(rows, np.flatnonzero(np.diff(rows // length)) + 1):
                yield Block(part, own, first)
                first += len(own)


def is_numeric(variable: xr.DataArray) -> bool:
    """Whether models take a variable: it has numbers along `sample`."""
    return variable.dims[:1] == ("sample",) and variable.dtype.kind in "fiub"


def _joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks of each part as one."""
    parts: dict[int, list[Block]] = {}
    for block in blocks:
        parts.setdefault(block.part, []).append(block)
    for part, own in parts.items():
        yield Block(part, np.concatenate([block.rows for block in own]), own[0].first)

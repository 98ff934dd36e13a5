r"""Batches that are read from the parts of a dataset while the training runs, for data beyond memory.

Each epoch draws an order of the chunks and divides it into windows of several chunks. The samples of a window
are mixed, and the batches follow each other through the windows. While the batches of one window are used,
threads read and decompress the next. At most two windows are in memory.

The order of the samples is a function of (seed, epoch), of the chunks on disk and of the size of a window; it
does not depend on threads or processes. The window of any step is therefore known without reading what comes
before it. Two samples of one chunk stay close together within an epoch: they are in one window.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plumbline.storage.split import Block, StoredSplit
from plumbline.training import TrainingSpec
from plumbline.training.feed import Batch, InMemory, Place, mixed_seed

logger = logging.getLogger("plumbline.training")

READERS = 2
"""Number of threads that read and decompress."""
WINDOWS = 3
"""A window takes up one part in `WINDOWS` of the memory: two are held, and the rest is for reading."""
FEWEST_CHUNKS = 4
"""Smallest number of chunks in a window, even if the memory is smaller."""
LIGHT = 16
"""Variables that together take up less than one part in `LIGHT` of the memory are held as a whole."""


GB = 1e9
"""Bytes in the unit of `memory`."""


@dataclass(frozen=True)
class Window:
    """Samples of an epoch that are read together and mixed.

    Attributes:
        epoch: the number of the epoch.
        blocks: the blocks to read.
        first: the place of its first sample in the order of the epoch.
        seed: seed of the order of its samples; None for that of the blocks.
    """

    epoch: int
    blocks: list[Block]
    first: int
    seed: int | None

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    def places(self) -> np.ndarray:
        """The place in the order of the epoch of each sample, block by block."""
        count = len(self)
        return self.first + (np.arange(count) if self.seed is None else _permutation(count, self.seed))


@dataclass(frozen=True)
class Cut:
    """How the order of an epoch is cut into batches, and which of them are asked for.

    Attributes:
        size: number of samples in a batch of all processes.
        per_epoch: number of batches in an epoch.
        steps: the steps that are asked for.
        place: the process that asks.
    """

    size: int
    per_epoch: int
    steps: range
    place: Place

    def wanted(self, window: Window, places: np.ndarray) -> np.ndarray:
        """Whether this process takes the samples at these places of a window's epoch."""
        step = self.step(window, places)
        asked = (step >= self.steps.start) & (step < self.steps.stop) & (places // self.size < self.per_epoch)
        mine: np.ndarray = asked & (places % self.size % self.place.world == self.place.rank)
        return mine

    def step(self, window: Window, places: np.ndarray) -> np.ndarray:
        """The step whose batch contains the sample at each of these places."""
        steps: np.ndarray = window.epoch * self.per_epoch + places // self.size
        return steps


@dataclass(frozen=True)
class Filling:
    """The samples of a window that this process takes, while threads read them.

    Attributes:
        steps: the step of each sample, increasing.
        values: arrays (samples, ...) by name, in this order.
        indices: the index of each sample in the split.
        running: the threads' tasks.
    """

    steps: np.ndarray
    values: dict[str, np.ndarray]
    indices: np.ndarray
    running: list[Future[None]]

    def wait(self) -> None:
        """Waits for the threads.

        Raises:
            CorruptStoreError: a chunk is missing or damaged.
        """
        for task in self.running:
            task.result()


class Streamed:
    """Samples of a split that are read from its parts, window by window.

    Args:
        split: the samples on disk.
        memory: largest size in bytes of the samples in memory.
        readers: number of threads that read and decompress; it changes no result.
    """

    def __init__(self, split: StoredSplit, memory: float, readers: int = READERS) -> None:
        self.split, self.readers = split, readers
        self.held: dict[str, Tensor] = {}
        left = memory / LIGHT
        for name in sorted(split.names, key=lambda name: split.sample_bytes[name]):
            left -= split.count * split.sample_bytes[name]
            if left < 0:
                break
            self.held[name] = torch.as_tensor(split.whole(name))
        self.streamed = [name for name in split.names if name not in self.held]
        size = split.count * sum(split.sample_bytes[name] for name in self.streamed)
        wanted = -(-size * WINDOWS // max(1, int(memory)))
        self.windows = max(1, min(wanted, len(split.blocks) // FEWEST_CHUNKS))

    @property
    def samples(self) -> int:
        """The number of samples."""
        return self.split.count

    def batches(self, spec: TrainingSpec, seed: int, start: int, place: Place) -> Iterator[tuple[int, Batch]]:
        """Yields the steps from `start` on with their batches; see `Feed`.

        Raises:
            CorruptStoreError: a chunk is missing or damaged.
            ValueError: a batch has fewer samples than there are processes.
        """
        size = min(spec.batch, self.samples)
        if size < place.world:
            raise ValueError(f"a batch of {size} samples cannot be shared by {place.world} processes.")
        per_epoch = self.samples // size
        cut = Cut(size, per_epoch, range(start, spec.steps), place)
        epochs = range(start // per_epoch, -(-spec.steps // per_epoch))
        windows = (window for epoch in epochs for window in self._mixed(seed, epoch))
        return self._batches(windows, cut)

    def in_order(self, size: int, place: Place) -> Iterator[Batch]:
        """Yields all samples in their order; see `Feed`.

        Raises:
            CorruptStoreError: a chunk is missing or damaged.
        """
        per_epoch = -(-self.samples // size)
        cut = Cut(size, per_epoch, range(per_epoch), Place(place.device))
        groups = np.array_split(np.arange(len(self.split.blocks)), self.windows)
        blocks = [[self.split.blocks[i] for i in group] for group in groups]
        windows = (Window(0, chosen, chosen[0].first, None) for chosen in blocks)
        return (batch for _, batch in self._batches(windows, cut))

    def blocks(self) -> Blocks:
        """The samples in blocks, for a model that is prepared from blocks."""
        return Blocks(self)

    def _mixed(self, seed: int, epoch: int) -> Iterator[Window]:
        """The windows of an epoch in their order."""
        blocks = self.split.blocks
        order = _permutation(len(blocks), mixed_seed(seed, epoch, -1))
        first = 0
        for number, chosen in enumerate(np.array_split(order, self.windows)):
            window = Window(epoch, [blocks[i] for i in chosen], first, mixed_seed(seed, epoch, -3 - number))
            yield window
            first += len(window)

    def _batches(self, windows: Iterable[Window], cut: Cut) -> Iterator[tuple[int, Batch]]:
        """Cuts the windows into batches; a batch may contain the end of one and the start of the next."""
        missing: dict[int, list[Batch]] = {}
        for filling in self._filled(windows, cut):
            steps, starts = np.unique(filling.steps, return_index=True)
            for step, start, stop in zip(steps, starts, [*starts[1:], len(filling.steps)], strict=True):
                pieces = [*missing.pop(int(step), []), self._piece(filling, slice(start, stop))]
                found = sum(len(piece["state"]) for piece in pieces)
                if found < self._expected(cut, int(step)):
                    # A copy, because the window after the next one takes its place.
                    missing[int(step)] = [{name: x.clone() for name, x in piece.items()} for piece in pieces]
                    continue
                batch = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
                yield int(step), _moved(batch, cut.place.device)

    def _expected(self, cut: Cut, step: int) -> int:
        """The number of samples of a batch that this process takes."""
        size = min(cut.size, self.samples - step % cut.per_epoch * cut.size)
        return len(range(cut.place.rank, size, cut.place.world))

    def _piece(self, filling: Filling, chosen: slice) -> Batch:
        read = {name: torch.from_numpy(values[chosen]) for name, values in filling.values.items()}
        indices = torch.from_numpy(filling.indices[chosen])
        return {name: read[name] if name in read else self.held[name][indices] for name in self.split.names}

    def _filled(self, windows: Iterable[Window], cut: Cut) -> Iterator[Filling]:
        """Yields the windows, each while the next one is read. It is valid until the next one is yielded."""
        pool = ThreadPoolExecutor(self.readers, "reader")
        memory, other = self._memory(), self._memory()
        try:
            current: Filling | None = None
            for window in windows:
                places = window.places() if self._concerns(window, cut) else np.empty(0, np.int64)
                if not (wanted := cut.wanted(window, places)).any():
                    continue
                ahead = self._begun(pool, window, places, wanted, cut, memory)
                memory, other = other, memory
                if current is not None:
                    current.wait()
                    yield current
                current = ahead
            if current is not None:
                current.wait()
                yield current
        finally:
            pool.shutdown(cancel_futures=True)

    def _concerns(self, window: Window, cut: Cut) -> bool:
        """Whether a window has samples of the steps that are asked for, in any process."""
        ends = cut.step(window, np.array([window.first, window.first + len(window) - 1]))
        return bool(ends[1] >= cut.steps.start and ends[0] < cut.steps.stop)

    def _memory(self) -> dict[str, np.ndarray]:
        """Space for the largest window, by name of the variable; the system provides what is written to."""
        most = -(-len(self.split.blocks) // self.windows) * max(map(len, self.split.blocks))
        return {
            name: np.empty((most, *self.split.shapes[name]), self.split.dtypes[name])
            for name in self.streamed
        }

    def _begun(
        self,
        pool: ThreadPoolExecutor,
        window: Window,
        places: np.ndarray,
        wanted: np.ndarray,
        cut: Cut,
        memory: Mapping[str, np.ndarray],
    ) -> Filling:
        """Lets the threads read a window, each sample to where it stands in the order of the epoch."""
        own = np.sort(places[wanted])
        values = {name: space[: len(own)] for name, space in memory.items()}
        indices = np.empty(len(own), np.int64)
        running = []
        first = 0
        for block in window.blocks:
            inside = slice(first, first + len(block))
            rows = np.flatnonzero(wanted[inside])
            if len(rows):
                targets = np.searchsorted(own, places[inside][rows])
                indices[targets] = block.first + rows
                running.append(pool.submit(self._read, block, rows, targets, values))
            first += len(block)
        return Filling(cut.step(window, own), values, indices, running)

    def _read(
        self, block: Block, rows: np.ndarray, targets: np.ndarray, values: Mapping[str, np.ndarray]
    ) -> None:
        for name in self.streamed:
            found = self.split.read(block, name)
            values[name][targets] = found if len(rows) == len(found) else found[rows]


def feed_of(split: StoredSplit, memory: float, name: str) -> InMemory | Streamed:
    """The samples of a split: in memory if they fit, else streamed from disk.

    Args:
        split: the samples on disk.
        memory: largest size in memory, in GB.
        name: name of the split, for the log.

    Raises:
        CorruptStoreError: a chunk is missing or damaged.
    """
    size = f"the {name} split, {split.count} samples of {split.nbytes / GB:.3g} GB"
    if split.nbytes <= memory * GB:
        logger.info("%s, is held in memory (`memory`: %g GB).", size, memory)
        return InMemory({own: torch.as_tensor(split.whole(own)) for own in split.names})
    feed = Streamed(split, memory * GB)
    logger.info(
        "%s, is read from disk during the training (`memory`: %g GB), in %d windows an epoch.",
        size,
        memory,
        feed.windows,
    )
    return feed


class Blocks:
    """The samples of a split in their order, block by block; a variable is read when it is looked up.

    Args:
        feed: the samples.
    """

    def __init__(self, feed: Streamed) -> None:
        self.feed = feed

    def __iter__(self) -> Iterator[Mapping[str, Tensor]]:
        return (BlockOfSamples(self.feed, block) for block in self.feed.split.blocks)


class BlockOfSamples(Mapping[str, Tensor]):
    """The variables of a block, each read when it is looked up.

    Args:
        feed: the samples.
        block: the block.
    """

    def __init__(self, feed: Streamed, block: Block) -> None:
        self.feed, self.block = feed, block

    def __getitem__(self, name: str) -> Tensor:
        if name in self.feed.held:
            return self.feed.held[name][self.block.first : self.block.first + len(self.block)]
        if name not in self.feed.streamed:
            raise KeyError(name)
        return torch.as_tensor(self.feed.split.read(self.block, name))

    def __contains__(self, name: object) -> bool:
        return name in self.feed.split.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.feed.split.names)

    def __len__(self) -> int:
        return len(self.feed.split.names)


def _permutation(count: int, seed: int) -> np.ndarray:
    permutation: np.ndarray = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).numpy()
    return permutation


def _moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device. Copies to a GPU are asynchronous, from pinned memory."""
    if device.type != "cuda":
        return {name: x.to(device) for name, x in batch.items()}
    return {name: x.pin_memory().to(device, non_blocking=True) for name, x in batch.items()}

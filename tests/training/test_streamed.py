"""Training on data beyond memory: its order, its resuming, its memory, and its faults."""

import json
import math
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import chi2
from torch import nn

from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.storage import CorruptStoreError, store
from plumbline.storage.split import StoredSplit
from plumbline.storage.store import write_store
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory, Place
from plumbline.training.loop import train
from plumbline.training.streamed import GB, Streamed, feed_of

CPU = Place(torch.device("cpu"))
CHUNK = 10
"""Samples of a chunk in the dataset of these tests."""


def spec(**values):
    given = {"steps": 60, "batch": 16, "warmup": 5, "save_every": 20, "log_every": 10, "accelerator": "cpu"}
    return TrainingSpec(**(given | values))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Two parts with 333 training samples in chunks of ten, among others; `state` holds their indices.

    The splits alternate within the first part, and the training samples of the second stand in its middle.
    """
    folder = tmp_path_factory.mktemp("data")
    first = np.where(np.arange(120) % 3 == 2, "test", "train")
    second = np.repeat(["validation", "train", "test"], [25, 253, 22])
    seen, paths = 0, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "CHUNK_BYTES", CHUNK * 4 * 4)
        for part, split in enumerate((first, second)):
            index = np.full(len(split), -1)
            index[split == "train"] = seen + np.arange((split == "train").sum())
            seen += int((split == "train").sum())
            written = xr.Dataset(
                {
                    "state": (("sample", "x"), np.repeat(index[:, None], 4, 1).astype(np.float32)),
                    "condition": (("sample", "c"), 2.0 * index[:, None]),
                    "label": ("sample", index),
                    "present": ("sample", index % 2 == 0),
                    "words": ("sample", index.astype(str)),
                },
                coords={"split": ("sample", split)},
            )
            paths.append(folder / f"part-{part}.zarr")
            write_store(written, paths[-1])
    return paths


def streamed(parts, *, windows=4, samples=None, readers=2, held=True):
    """A feed with this number of windows an epoch; labels and conditions are held as a whole, or not."""
    feed = Streamed(StoredSplit(parts, "train", samples), 16 * 6000 if held else 1000, readers)
    assert set(feed.held) == ({"present", "label", "condition"} if held else set())
    feed.windows = windows
    return feed


def order(feed, start=0, place=CPU, seed=5, **values):
    """The steps and the indices of the samples in their batches."""
    found = []
    for step, batch in feed.batches(spec(**values), seed, start, place):
        index = batch["label"]
        assert torch.equal(batch["state"], index[:, None].float().expand(-1, 4))
        assert torch.equal(batch["condition"], 2.0 * index[:, None].double())
        assert torch.equal(batch["present"], index % 2 == 0)
        found.append((step, index.tolist()))
    return found


def test_an_epoch_contains_every_sample_once_but_for_those_that_fill_no_batch(parts):
    steps = 333 // 16
    batches = order(streamed(parts), steps=3 * steps)
    assert [step for step, _ in batches] == list(range(3 * steps))
    epochs = [[i for _, batch in batches[e * steps : (e + 1) * steps] for i in batch] for e in range(3)]
    for epoch in epochs:
        assert len(epoch) == len(set(epoch)) == steps * 16 and set(epoch) <= set(range(333))
    assert epochs[0] != epochs[1] and set(epochs[0]) != set(epochs[1])


@pytest.mark.parametrize("windows", [1, 3, 8])
@pytest.mark.parametrize("held", [True, False])
def test_a_training_that_resumes_sees_the_same_batches(parts, windows, held):
    whole = order(streamed(parts, windows=windows))
    for start in (1, 17, 20, 21, 43, 59, 60):
        assert order(streamed(parts, windows=windows, held=held), start) == whole[start:], start


def test_resuming_reads_only_the_windows_that_it_needs(parts, monkeypatch):
    feed, read = streamed(parts, windows=8), []
    _read = feed.split.read
    monkeypatch.setattr(feed.split, "read", lambda block, name: read.append(len(block)) or _read(block, name))
    order(feed, 18, steps=20)
    assert sum(read) <= 333 / 8 * 2 + 2 * CHUNK


def test_the_order_does_not_depend_on_threads_or_processes(parts):
    whole = order(streamed(parts, readers=1))
    assert order(streamed(parts, readers=5)) == whole
    for world in (2, 3, 5):
        shares = [order(streamed(parts), place=Place(CPU.device, r, world)) for r in range(world)]
        for step, batch in whole:
            assert [share[step] for share in shares] == [(step, batch[r::world]) for r in range(world)]


def test_another_seed_gives_another_order(parts):
    assert order(streamed(parts), seed=5) != order(streamed(parts), seed=6)


def test_samples_of_many_chunks_are_mixed_in_a_batch(parts):
    """A batch of 16 from a window of w equal chunks has as many distinct chunks as random draws would have.

    The number of distinct chunks of a batch within a window has the mean sum_c (1 - P(none of chunk c)),
    with hypergeometric P. The mean over 150 epochs is compared with it at six standard errors: if batches
    were independent, a false alarm would have a chance of 2e-9; the seed is fixed.
    """
    feed = streamed(parts, windows=4)
    chunk_of = np.empty(333, int)
    for number, block in enumerate(feed.split.blocks):
        chunk_of[block.first : block.first + len(block)] = number
    excess = []
    for epoch in range(150):
        # Each window of this epoch, and the batches that lie within it.
        indices = [i for _, batch in order(feed, epoch * 20, steps=(epoch + 1) * 20) for i in batch]
        for window in feed._mixed(5, epoch):
            sizes = np.array([len(block) for block in window.blocks])
            total = sizes.sum()
            first = -(-window.first // 16) * 16
            for start in range(first, min(window.first + total, 320) - 15, 16):
                batch = chunk_of[indices[start : start + 16]]
                none = [math.comb(int(total - n), 16) / math.comb(int(total), 16) for n in sizes]
                excess.append(len(set(batch)) - (len(sizes) - sum(none)))
    assert len(excess) > 1000
    error = np.std(excess) / math.sqrt(len(excess))
    assert abs(np.mean(excess)) < 6 * error
    assert error < 0.05  # of six to seven chunks: a loss of mixing would be seen


def test_chunks_come_in_every_place_of_an_epoch(parts):
    """The quarter of the epoch in which each chunk comes is uniform and independent over epochs.

    Pearson's statistic over 400 epochs, which is below its quantile at 1 - 1e-6 except for one seed in a
    million (windows differ in size by one chunk, so the chances are those of the sizes).
    """
    feed = streamed(parts, windows=4)
    chunks = len(feed.split.blocks)
    counts, epochs = np.zeros((chunks, 4)), 400
    number = {id(block): i for i, block in enumerate(feed.split.blocks)}
    for epoch in range(epochs):
        for place, window in enumerate(feed._mixed(1, epoch)):
            for block in window.blocks:
                counts[number[id(block)], place] += 1
    expected = epochs * np.array([len(a) for a in np.array_split(np.arange(chunks), 4)]) / chunks
    statistic = ((counts - expected) ** 2 / expected).sum() * (chunks - 1) / chunks
    assert statistic < chi2.ppf(1 - 1e-6, 3 * (chunks - 1))
    assert statistic > chi2.ppf(1e-6, 3 * (chunks - 1))


def test_a_prefix_of_the_split_is_used(parts):
    batches = order(streamed(parts, samples=100, held=False), steps=6)
    assert {i for _, batch in batches for i in batch} < set(range(100))
    assert streamed(parts, samples=100, held=False).samples == 100


def test_the_number_of_windows_follows_from_the_memory(parts):
    split = StoredSplit(parts, "train")
    chunks = len(split.blocks)
    assert Streamed(split, 1e9).windows == 1
    assert Streamed(split, 3 * split.nbytes / 5).windows == 5
    assert Streamed(split, 1).windows == chunks // 4


def test_validations_see_all_samples_in_order(parts):
    batches = list(streamed(parts).in_order(16, CPU))
    assert torch.equal(torch.cat([b["label"] for b in batches]), torch.arange(333))
    assert [len(b["state"]) for b in batches] == [16] * 20 + [13]


def test_batches_larger_than_a_window_and_than_the_split(parts):
    for batch in (120, 300, 5000):
        found = order(streamed(parts, windows=8), batch=batch, steps=4)
        assert [len(b) for _, b in found] == [min(batch, 333)] * 4
        assert order(streamed(parts, windows=8), 3, batch=batch, steps=4) == found[3:]


def test_more_processes_than_samples_in_a_batch_are_an_error(parts):
    with pytest.raises(ValueError, match="a batch of 2 samples cannot be shared by 3 processes"):
        streamed(parts).batches(spec(batch=2), 0, 0, Place(CPU.device, 0, 3))


def test_a_feed_that_is_left_early_stops_its_threads(parts):
    import threading

    before = threading.active_count()
    generator = streamed(parts, windows=8).batches(spec(), 0, 0, CPU)
    assert len(list(islice(generator, 3))) == 3
    generator.close()
    assert threading.active_count() == before


def test_a_damaged_chunk_stops_the_training_and_is_named(parts, tmp_path):
    import shutil

    copies = [shutil.copytree(path, tmp_path / path.name) for path in parts]
    chunk = copies[1] / "state" / "c" / "7" / "0"
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CorruptStoreError, match=r"part-1\.zarr is damaged: its chunk state/c/7/0"):
        order(streamed(copies))
    chunk.unlink()
    with pytest.raises(CorruptStoreError, match=r"its chunk state/c/7/0 is missing"):
        order(streamed(copies))
    with pytest.raises(CorruptStoreError, match="no sample in the split 'tset'"):
        StoredSplit(copies, "tset")


def test_what_fits_is_held_in_memory_and_the_log_says_so(parts, caplog):
    caplog.set_level("INFO")
    split = StoredSplit(parts, "train")
    size = 333 * (4 * 4 + 8 + 8 + 1)
    assert split.nbytes == size
    held = feed_of(split, size / GB, "train")
    assert isinstance(held, InMemory) and "is held in memory" in caplog.messages[-1]
    assert set(held.data) == {"state", "condition", "label", "present"}
    assert torch.equal(held.data["label"], torch.arange(333))
    assert isinstance(feed_of(split, (size - 1) / GB, "train"), Streamed)
    assert "is read from disk during the training" in caplog.messages[-1]


class Line(nn.Module):
    """y = a x + b by least squares, with noise; `after_step` counts its calls."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.register_buffer("steps", torch.tensor(0))

    def loss(self, batch):
        x = batch["state"][:, :1] / 333
        error = (self.layer(x + 0.1 * torch.randn_like(x)) - (3 * x + 1)).square().mean()
        return error, {"squares": error.detach()}

    def after_step(self, terms):
        self.steps += 1


class Stops(Line):
    """The same, interrupted in its 48th step."""

    def loss(self, batch):
        if int(self.steps) == 47:
            raise KeyboardInterrupt
        return super().loss(batch)


def test_an_interrupted_training_ends_at_the_same_bits(parts, tmp_path):
    def run(model, folder):
        return train(model, streamed(parts), spec(), seed=3, folder=tmp_path / folder, identity="a")

    whole = run(Line(), "whole")
    with pytest.raises(KeyboardInterrupt):
        run(Stops(), "cut")
    assert (tmp_path / "cut" / "state.pt").exists()
    resumed = run(Line(), "cut")
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


TRAINING = """
import re, sys
from pathlib import Path
from plumbline.stages.train import train
import logging
logging.basicConfig(level=logging.INFO)
train(sys.argv[1], seed=0, dataset=[Path(p) for p in sys.argv[3:]], output=Path(sys.argv[2]))
# `ru_maxrss` would contain the size of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1e3)
"""


def peak(parts, output, memory, steps):
    """The peak memory in MB of a process that trains, and its log."""
    model = DiffusionSpec(
        network={"kind": "mlp", "width": 8, "blocks": 1, "embedding": 8},
        training=spec(steps=steps, batch=64).model_dump(),
    )
    values = {
        "model": model.model_dump(mode="json"),
        "constraints": {},
        "models": {},
        "constraint_models": {},
        "memory": memory,
    }
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, json.dumps(values), str(output), *map(str, parts)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout), done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded(tmp_path):
    """A training on 300 MB with `memory` of 50 MB takes less than 150 MB more than one on 3 MB.

    Two windows take 33 MB; the rest is what the reading threads and their allocator use.

    Held in memory, the same data takes more than 250 MB: the test would see it.
    """
    rng = np.random.default_rng(0)
    paths = []
    for part in range(5):
        state = rng.standard_normal((15_000, 1000), dtype=np.float32)
        paths.append(tmp_path / f"part-{part}.zarr")
        split = np.where(np.arange(len(state)) < len(state) - 4, "train", "test")
        dataset = xr.Dataset({"state": (("sample", "x"), state)}, coords={"split": ("sample", split)})
        write_store(dataset, paths[-1])
    write_store(dataset.isel(sample=slice(-750, None)), tmp_path / "few.zarr")
    few, log = peak([tmp_path / "few.zarr"], tmp_path / "few", 0.05, 20)
    assert "held in memory" in log
    large, log = peak(paths, tmp_path / "large", 0.05, 400)
    assert "read from disk" in log
    whole, _ = peak(paths, tmp_path / "whole", 1.0, 20)
    assert large < few + 150, (few, large, whole)
    assert whole > few + 250, (few, large, whole)

"""Training on data beyond memory: peak memory and speed beside training in memory, and the speed of reading.

It writes random fields of two components on 32 x 32 points at four times (32 KB a sample, those of the mirror
study of Kolmogorov flow at `laptop` scale) to a temporary folder, which it deletes, and prints three tables:

- the peak resident memory of a process that prepares and trains the study's U-Net (batch 16) on 6 GB, of one
  that generates a part of 1 GB (images of `tilings`), and of one that samples as much (`samples: path`);
- the CPU time of a training step with data from disk and from memory, in alternating rounds of one process;
- samples a second of reading alone, by batch size, chunk size and number of reader threads.

    python benchmarks/streaming.py                    # a quarter of an hour, 7 GB of disk
    python benchmarks/streaming.py --gigabytes 0.5    # two minutes
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from plumbline.datasets.tilings import TilingsSpec
from plumbline.models.diffusion.diffusion import DiffusionSpec
from plumbline.networks.unet import UNetSpec
from plumbline.stages.generate import generate
from plumbline.stages.sample import sample
from plumbline.stages.trained import build_model, example_of
from plumbline.storage import store
from plumbline.storage.split import StoredSplit
from plumbline.storage.store import open_parts, write_store
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory, Place
from plumbline.training.loop import train
from plumbline.training.streamed import GB, Streamed

SHAPE = (4, 2, 32, 32)
NETWORK = UNetSpec(channels=(16, 32, 64), blocks=(1, 1, 1), embedding=64)
BATCH = 16
PLACE = Place(torch.device("cpu"))
PART = 6000
"""Samples of a part."""
MEMORY = 0.5
"""`memory` in GB of the training whose peak memory is measured."""
SUBSET = 5000
"""Samples of the training in memory."""
TASKS = ("peak", "peak_in_memory", "generate", "sample")
"""Tasks whose peak memory is measured."""
OWN = "own/part-0000.zarr"
"""The part that is generated, in the folder of the data."""
ROUNDS, STEPS = 12, 30


def write(folder: Path, gigabytes: float, chunk: float = 4.0) -> list[Path]:
    """Writes smooth random fields in parts, with chunks of this size in MiB."""
    store.CHUNK_BYTES = int(chunk * 2**20)
    generator = np.random.default_rng(0)
    wave = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)) * 32
    filtered = (np.exp(-((wave / 6) ** 2)) * 10).astype(np.float32)
    count = int(gigabytes * GB / (np.prod(SHAPE) * 4))
    paths = []
    for first in range(0, count, PART):
        noise = generator.standard_normal((min(PART, count - first), *SHAPE), dtype=np.float32)
        state = np.fft.irfft2(np.fft.rfft2(noise) * filtered, s=(32, 32)).astype(np.float32)
        dims = ("sample", "time", "component", "x", "y")
        grid = {d: (d, np.arange(32.0), {"period": 32.0}) for d in ("x", "y")}
        split = ("sample", np.repeat("train", len(state)))
        paths.append(folder / f"part-{first // PART:04d}.zarr")
        write_store(xr.Dataset({"state": (dims, state)}, coords={**grid, "split": split}), paths[-1])
    return paths


def model_of(paths: list[Path]) -> torch.nn.Module:
    """The study's diffusion model, untrained."""
    spec = DiffusionSpec(network=NETWORK)
    values = {"model": spec.model_dump(mode="json"), "constraints": {}, "models": {}}
    return build_model(values, example_of(open_parts(paths[:1])), {})


def peak_of_training(paths: list[Path], steps: int, subset: int | None) -> None:
    """Prints the peak memory in MB of this process, which prepares and trains; from memory with a subset."""
    model, split = model_of(paths), StoredSplit(paths, "train", subset)
    spec = TrainingSpec(steps=steps, batch=BATCH, accelerator="cpu", save_every=10**6)
    started = _peak()
    with tempfile.TemporaryDirectory() as folder:
        if subset is not None:
            data = {name: torch.as_tensor(split.whole(name)) for name in split.names}
            model.prepare(data)
            train(model, InMemory(data), spec, seed=0, folder=folder, identity="")
        else:
            feed = Streamed(split, MEMORY * GB)
            model.prepare_in_blocks(feed.blocks())
            train(model, feed, spec, seed=0, folder=folder, identity="")
    print(started, _peak())


def peak_of_generation(folder: Path, gigabytes: float) -> None:
    """Prints the peak memory in MB of this process, which generates a part of this size."""
    count = int(gigabytes * GB / (4 * 64**2))
    spec = TilingsSpec(
        tile=16, rows=4, columns=4, parts=1, splits={"train": 1, "validation": 2, "test": count}
    )
    started = _peak()
    generate(spec.canonical(), part=0, output=folder / OWN)
    print(started, _peak())


def peak_of_sampling(folder: Path) -> None:
    """Prints the peak memory in MB of this process, which samples what has been generated."""
    data = folder / OWN
    count = int((open_parts([data])["split"] == "test").sum())
    method = {"sampler": {"kind": "from_file", "path": str(data)}}
    values = {"method": method, "samples": {"count": count}, "constraints": {}, "constraint_models": {}}
    started = _peak()
    sample(
        json.dumps(values | {"observation": None}),
        seed=0, part=0, dataset=[data], model=[], output=folder / "samples" / OWN,
    )  # fmt: skip
    print(started, _peak())


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # `ru_maxrss` contains the size of the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def compare(paths: list[Path]) -> None:
    """Prints the CPU and wall time of a step from memory and from disk, and the medians of their ratios."""
    torch.manual_seed(0)
    model = model_of(paths)
    part = StoredSplit(paths, "train", SUBSET)
    held = InMemory({"state": torch.as_tensor(part.whole("state"))})
    model.prepare(held.data)
    # Windows of about 60 steps, so that the rounds contain several of them.
    streamed = Streamed(StoredSplit(paths, "train"), 0.1 * GB)
    spec = TrainingSpec(steps=10**6, batch=BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    feeds = {"memory": held.batches(spec, 0, 0, PLACE), "disk": streamed.batches(spec, 0, 0, PLACE)}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in feeds}
    for number in range(ROUNDS + 1):
        for name in list(feeds) if number % 2 else list(feeds)[::-1]:
            began = time.process_time(), time.perf_counter()
            for _, batch in islice(feeds[name], STEPS):
                optimiser.zero_grad()
                loss, _ = model.loss(batch)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
            if number:  # the first round warms up
                seconds[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
    print("| data from | CPU milliseconds per step | samples per CPU second | speed beside memory |")
    print("|---|---:|---:|---:|")
    total = {name: sum(cpu for cpu, _ in values) for name, values in seconds.items()}
    for name, cpu in total.items():
        step = cpu / (ROUNDS * STEPS)
        print(f"| {name} | {1e3 * step:.1f} | {BATCH / step:.0f} | {total['memory'] / cpu:.3f} |")
    ratios = [m[0] / d[0] for m, d in zip(seconds["memory"], seconds["disk"], strict=True)]
    walls = [m[1] / d[1] for m, d in zip(seconds["memory"], seconds["disk"], strict=True)]
    print(
        f"\nOver {ROUNDS} rounds of {STEPS} steps, "
        f"which read {ROUNDS * STEPS * BATCH * 32768 / 0.1e9 * 3:.1f} windows, "
        f"the median ratio within a round is {statistics.median(ratios):.3f} by CPU time and "
        f"{statistics.median(walls):.3f} by wall time."
    )


def read(gigabytes: float) -> None:
    """Prints how fast batches are read from disk, without training."""
    print("| chunk (MiB) | batch | threads | samples per CPU second | samples per second | CPU ms per MB |")
    print("|---:|---:|---:|---:|---:|---:|")
    for chunk in (1.0, 4.0, 16.0):
        with tempfile.TemporaryDirectory() as folder:
            split = StoredSplit(write(Path(folder), gigabytes, chunk), "train")
            cases = [(b, 2) for b in (16, 64, 256)] + [(64, r) for r in (1, 4)]
            for batch, readers in cases if chunk == 4 else [(64, 2)]:
                feed = Streamed(split, 0.2 * GB, readers)
                began = time.process_time(), time.perf_counter()
                spec = TrainingSpec(steps=split.count // batch, batch=batch)
                count = sum(len(b["state"]) for _, b in feed.batches(spec, 0, 0, PLACE))
                cpu, wall = time.process_time() - began[0], time.perf_counter() - began[1]
                megabytes = count * np.prod(SHAPE) * 4 / 1e6
                print(
                    f"| {chunk:g} | {batch} | {readers} | {count / cpu:.0f} | {count / wall:.0f} "
                    f"| {1e3 * cpu / megabytes:.2f} |",
                    flush=True,
                )


def main() -> None:
    """Runs the tasks, those that measure memory in processes of their own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=6.0)
    parser.add_argument("--folder", type=Path, help="folder for the data; by default a temporary one")
    parser.add_argument("--task", choices=[*TASKS, "compare"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.task:
        paths = sorted(options.folder.glob("*.zarr"))
        windows = MEMORY * GB / 3 / (np.prod(SHAPE) * 4)
        if options.task == "compare":
            compare(paths)
        elif options.task == "generate":
            peak_of_generation(options.folder, min(1.0, options.gigabytes))
        elif options.task == "sample":
            peak_of_sampling(options.folder)
        else:  # a little more than one window, while the next one is read
            peak_of_training(paths, int(1.1 * windows / BATCH), SUBSET if "memory" in options.task else None)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        paths = write(folder, options.gigabytes)
        stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / GB
        split = StoredSplit(paths, "train")
        print(f"{split.count} samples, {split.nbytes / GB:.2f} GB, {stored:.2f} GB on disk\n", flush=True)
        print("| process | GB | peak resident memory (MB) | of which before the data (MB) |")
        print("|---|---:|---:|---:|")
        own = min(1.0, options.gigabytes)
        sizes = (split.nbytes / GB, SUBSET * np.prod(SHAPE) * 4 / GB, own, own)
        names = (
            f"training from disk, `memory: {MEMORY}`",
            "training in memory, a subset",
            "generation",
            "sampling",
        )
        for task, what, size in zip(TASKS, names, sizes, strict=True):
            started, peak = map(float, _task(task, folder, options.gigabytes).split()[-2:])
            print(f"| {what} | {size:.2f} | {peak:.0f} | {started:.0f} |", flush=True)
        print("\n" + _task("compare", folder, options.gigabytes), flush=True)
    read(min(0.5, options.gigabytes))


def _task(task: str, folder: Path, gigabytes: float) -> str:
    given = ["--folder", str(folder), "--gigabytes", str(gigabytes)]
    command = [sys.executable, __file__, "--task", task, *given]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()

"""Sampling writes batch by batch: the same store as at once, in memory that does not grow with the part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from plumbline.datasets.gaussian import GaussianSpec
from plumbline.stages import sample as stage
from plumbline.stages.sample import DivergedSamplingError, sample
from plumbline.stages.train import train
from plumbline.storage import blocks, store
from plumbline.storage.store import load_store, write_store

CONSTRAINTS = {"e": {"kind": "linear_equality", "matrix": "matrix", "target": "target"}}
MODEL = {
    "model": {"kind": "fitted_gaussian"},
    "constraints": {},
    "models": {},
    "constraint_models": {},
    "memory": 2.0,
}


@pytest.fixture
def data(tmp_path):
    spec = GaussianSpec(parts=1, splits={"train": 40, "validation": 20, "test": 20})
    write_store(spec.draw_part(0), tmp_path / "data.zarr")
    return tmp_path / "data.zarr"


def values(sampler, model=None, batch=7):
    method = {"sampler": sampler, "batch": batch} | ({} if model is None else {"model": model})
    of_method = {"method": method, "constraints": CONSTRAINTS, "constraint_models": {}, "observation": None}
    of_method["drawn_from"] = [] if model is None else [model]
    return json.dumps(of_method | {"samples": {"count": 40, "samples_per_case": 2, "parts": 2}})


def test_samples_do_not_depend_on_what_is_held(data, tmp_path, monkeypatch):
    """Chunk for chunk, for the second part, whose batches end within a test sample."""
    train(json.dumps(MODEL), seed=0, dataset=[data], output=tmp_path / "model")
    monkeypatch.setattr(store, "CHUNK_BYTES", 5 * 8 * 4)
    base = {"kind": "ddim", "steps": 3}
    spec = values({"kind": "final_projection", "constraint": "e", "base": base}, "free")
    found = []
    for held in (2**25, 0):
        monkeypatch.setattr(blocks, "HELD_BYTES", held)
        monkeypatch.setattr(stage, "HELD_BYTES", held)
        output = tmp_path / f"{held}.zarr"
        sample(spec, seed=1, part=1, dataset=[data], model=[tmp_path / "model"], output=output)
        files = {str(file.relative_to(output)): file for file in output.rglob("*") if file.is_file()}
        found.append({name: file.read_bytes() for name, file in files.items() if name != "zarr.json"})
        stored = load_store(output)
        assert stored["case"].values.tolist() == [case for case in range(10, 20) for _ in range(2)]
        assert {"network_evaluations", "projection_solves", "sampling_seconds_per_sample"} < set(stored.attrs)
        assert (stored["final_distance_e"] < 1e-4).all() and stored["converged_e"].all()
    assert len(found[0]) > 10 and found[0] == found[1]


def test_samples_that_diverged_are_named_before_more_are_drawn(data, tmp_path, monkeypatch):
    real, seen = stage.as_dataset, []

    def broken(drawn, known):
        samples = real(drawn, known)
        seen.append(len(samples["state"]))
        if len(seen) == 2:
            samples["state"][3] = np.nan
        return samples

    monkeypatch.setattr(stage, "as_dataset", broken)
    np.save(tmp_path / "x.npy", np.zeros((40, 8), np.float32))
    spec = values({"kind": "from_file", "path": str(tmp_path / "x.npy")})
    with pytest.raises(DivergedSamplingError, match=r"1 of 7 samples .* sample 30"):
        sample(spec, seed=0, part=1, dataset=[data], model=[], output=tmp_path / "s.zarr")
    assert seen == [7, 7]
    assert not list(tmp_path.glob(".s.zarr*")) and not (tmp_path / "s.zarr").exists()


SAMPLING = """
import json, re, sys
from pathlib import Path
from plumbline.stages import sample as stage
from plumbline.storage import blocks
folder, peaks = Path(sys.argv[1]), []
for spec, held in ((sys.argv[2], 2**22), (sys.argv[3], 2**22), (sys.argv[3], 2**40)):
    blocks.HELD_BYTES = stage.HELD_BYTES = held
    output = folder / f"{len(peaks)}.zarr"
    stage.sample(spec, seed=0, part=0, dataset=[folder / "data.zarr"], model=[], output=output)
    peaks.append(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print(*peaks)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_is_bounded(tmp_path):
    """A part of 100 MB takes less than 200 MB more than one of 2 MB, and more than 300 MB if it is held.

    What it takes is that of the threads that read and compress chunks, and of their allocator.
    """
    state = np.tile(np.random.default_rng(0).standard_normal(10_000, dtype=np.float32), (2550, 1))
    data = xr.Dataset({"state": (("sample", "x"), state)}, coords={"split": ("sample", ["test"] * 2550)})
    write_store(data, tmp_path / "data.zarr")
    write_store(data.drop_vars("split"), tmp_path / "x.zarr")
    sampler = {"kind": "from_file", "path": str(tmp_path / "x.zarr")}
    spec = json.loads(values(sampler, batch=50)) | {"constraints": {}}
    few, many = (json.dumps(spec | {"samples": {"count": count}}) for count in (50, len(state)))
    done = subprocess.run(
        [sys.executable, "-c", SAMPLING, str(tmp_path), few, many],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    small, blocked, whole = (int(kilobytes) / 1e3 for kilobytes in done.stdout.split())
    assert blocked < small + 200, (small, blocked, whole)
    assert whole > small + 300, (small, blocked, whole)

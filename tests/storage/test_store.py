"""Stores: atomic writes, provenance, errors."""

import os
import socket
import subprocess
import time

import numpy as np
import pytest
import xarray as xr

from plumbline.datasets.burgers import BurgersSpec
from plumbline.datasets.combustion import CombustionSpec
from plumbline.datasets.kolmogorov import KolmogorovSpec
from plumbline.storage import store

SPLITS = {"train": 3, "validation": 2, "test": 2}
SPECS = [
    BurgersSpec(points=16, times=4, duration=1.0, splits=SPLITS),
    CombustionSpec(splits=SPLITS),
    KolmogorovSpec(points=16, times=2, start=0.1, splits=SPLITS),
]


def parts_of(spec, folder):
    paths = [folder / f"part-{i:04d}.zarr" for i in range(spec.parts)]
    for i, path in enumerate(paths):
        store.write_store(spec.draw_part(i), path, store.provenance(spec.canonical()))
    return paths


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.kind)
def test_parts_open_as_one_lazy_dataset(spec, tmp_path):
    opened = store.open_parts(parts_of(spec, tmp_path))
    assert opened.sizes["sample"] == 7
    assert opened["state"].chunks is not None
    assert opened.attrs["plumbline_spec"] == spec.canonical()
    assert len(opened.attrs["plumbline_spec_sha256"]) == 64
    assert {"plumbline_version", "plumbline_commit", "version_torch", "created", "device"} <= set(
        opened.attrs
    )
    whole = spec.model_copy(update={"parts": 1}).draw_part(0)
    np.testing.assert_allclose(opened["state"], whole["state"], rtol=3e-7, atol=1e-7)
    assert opened["state"].attrs["units"] == whole["state"].attrs["units"]


def test_a_failed_write_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    data = SPECS[0].draw_part(0)
    path = tmp_path / "part-0000.zarr"

    def fail(*args, **kwargs):
        (tmp_path / ".part-0000.zarr.1.partial").mkdir()
        raise OSError("the disk is full")

    monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
    with pytest.raises(OSError, match="full"):
        store.write_store(data, path)
    assert not path.exists()


def test_a_store_is_replaced_whole(tmp_path):
    path = tmp_path / "one.zarr"
    store.write_store(SPECS[0].draw_part(0), path)
    store.write_store(SPECS[0].draw_part(1), path)
    assert store.open_store(path).sizes["sample"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["one.zarr"]


def test_only_what_dead_writers_left_is_removed(tmp_path):
    """The writers are a dead process of this machine, a living one, and processes of other machines."""
    here, day = socket.gethostname(), 24 * 3600
    left = {
        f".one.zarr.{here}.{_ended_process()}.partial": False,
        f".one.zarr.{here}.{os.getppid()}.partial": True,
        ".one.zarr.elsewhere.7.partial": True,
        ".one.zarr.long.gone.8.partial": False,
    }
    for name in left:
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".one.zarr.long.gone.8.partial", times=(time.time() - 2 * day,) * 2)
    store.write_store(SPECS[0].draw_part(0), tmp_path / "one.zarr")
    kept = {path.name for path in tmp_path.iterdir()} - {"one.zarr"}
    assert kept == {name for name, stays in left.items() if stays}


def _ended_process():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_of_two_writers_of_one_store_the_first_to_end_is_kept(tmp_path):
    path = tmp_path / "one.zarr"
    attrs = store.provenance(SPECS[0].canonical()) | {"wall_time_seconds": 60.0}
    store.write_store(SPECS[0].draw_part(0), path, attrs | {"who": "first"})
    store.write_store(SPECS[0].draw_part(0), path, attrs | {"who": "second"})
    assert store.open_store(path).attrs["who"] == "first"
    # A store with other settings, or one older than this work, is replaced.
    store.write_store(SPECS[0].draw_part(0), path, attrs | {"who": "other", "plumbline_spec": "{}"})
    assert store.open_store(path).attrs["who"] == "other"
    later = {"who": "later", "plumbline_spec": "{}", "wall_time_seconds": -10.0}
    store.write_store(SPECS[0].draw_part(0), path, attrs | later)
    assert store.open_store(path).attrs["who"] == "later"
    assert [p.name for p in tmp_path.iterdir()] == ["one.zarr"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.unlink()], ids=["cut", "flipped", "missing"])
@pytest.mark.parametrize("file", ["state/c/0/0/0", "time/c/0", "split/c/0", "total/c", "state/zarr.json"])
def test_damage_is_noticed_wherever_it_is(tmp_path, file, damage):
    path = tmp_path / "one.zarr"
    data = SPECS[0].draw_part(0)
    # A chunk of zeros, which zarr omits by default, is written too.
    store.write_store((data * 0).assign(total=0.0), path)
    assert float(store.load_store(path)["state"].sum()) == 0
    damage(path / file)
    with pytest.raises(store.CorruptStoreError, match=r"one\.zarr .*Delete it and run the workflow again"):
        store.load_store(path)
    with pytest.raises(store.CorruptStoreError, match=r"one\.zarr"):
        store.load_parts([path])


def test_a_changed_attribute_is_damage(tmp_path):
    path = tmp_path / "one.zarr"
    store.write_store(SPECS[0].draw_part(0), path)
    metadata = (path / "zarr.json").read_text()
    (path / "zarr.json").write_text(metadata.replace("0.05", "0.07"))
    with pytest.raises(store.CorruptStoreError, match="its metadata is not what was written"):
        store.open_store(path)


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    with pytest.raises(
        store.CorruptStoreError, match=r"broken\.zarr is not a readable store.*run the workflow"
    ):
        store.open_store(tmp_path / "broken.zarr")


def test_floats_are_compressed(tmp_path):
    import zarr

    store.write_store(SPECS[0].draw_part(0), tmp_path / "one.zarr")
    array = zarr.open(tmp_path / "one.zarr", mode="r")["state"]
    assert array.metadata.zarr_format == 3
    assert "zstd" in str(array.compressors)


def test_chunks_are_whole_samples_of_a_bounded_size():
    assert store.chunk_shape((1000, 10, 32), 4) == (1000, 10, 32)
    assert store.chunk_shape((1000, 10, 1024), 4) == (102, 10, 1024)
    # A sample of two gigabytes is split along its times; one of 2^20 by 2^20 points along its grid.
    assert store.chunk_shape((4, 1000, 512, 512, 2), 4) == (1, 32, 512, 512, 2)
    assert store.chunk_shape((4, 2**20, 2**20), 8) == (1, 8, 2**20)

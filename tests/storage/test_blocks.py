"""Stores that are written in blocks: those of the whole dataset, byte for byte."""

import json
import tracemalloc
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import xarray as xr

from plumbline.datasets import DatasetSpec
from plumbline.datasets._random import normals
from plumbline.datasets.stored import StoredSpec
from plumbline.stages import generate as generating
from plumbline.stages.generate import generate
from plumbline.storage import blocks as blocks_module
from plumbline.storage import store
from plumbline.storage.blocks import write_in_blocks
from plumbline.storage.store import load_store, open_store


@pytest.fixture
def spec(tmp_path):
    rng = np.random.default_rng(0)
    data = xr.Dataset(
        {
            "state": (("sample", "x"), rng.standard_normal((50, 6)).astype(np.float32), {"units": "m"}),
            "condition": (("sample", "c"), rng.standard_normal((50, 2))),
            "label": ("sample", np.arange(50)),
            "name": ("sample", np.array([f"sample {i}" for i in range(50)], object)),
            "day": ("sample", np.datetime64("2001-01-01", "ns") + np.arange(50) * np.timedelta64(1, "D")),
            "matrix": (("row", "x"), rng.standard_normal((2, 6))),
        },
        coords={"x": ("x", np.arange(6) / 6, {"period": 1.0})},
        attrs={"viscosity": 0.1},
    )
    data.to_zarr(tmp_path / "own.zarr", zarr_format=3, consolidated=False)
    splits = {"train": 30, "validation": 10, "test": 8}
    return StoredSpec(path=str(tmp_path / "own.zarr"), parts=2, splits=splits)


def contents(path):
    """The files of a store by name; of the metadata of the group, which hold the time, only the names."""
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    root = json.loads(files.pop("zarr.json"))
    return files, root | {"attributes": list(root["attributes"])}


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_that_is_drawn_in_blocks_is_the_part(spec, part, tmp_path, monkeypatch):
    slice_ = spec.canonical()
    monkeypatch.setattr(store, "CHUNK_BYTES", 7 * 6 * 4)
    generate(slice_, part=part, output=tmp_path / "whole.zarr")
    size = spec.sample_bytes()
    assert size > 6 * 4 + 2 * 8 + 8
    monkeypatch.setattr(StoredSpec, "block_bytes", 6 * size)
    monkeypatch.setattr(blocks_module, "HELD_BYTES", 0)
    assert len(list(spec.draw_part_in_blocks(part))) == 4
    generate(slice_, part=part, output=tmp_path / "blocks.zarr")
    whole, blocks = load_store(tmp_path / "whole.zarr"), load_store(tmp_path / "blocks.zarr")
    assert contents(tmp_path / "whole.zarr") == contents(tmp_path / "blocks.zarr")
    assert list(whole.attrs) == list(blocks.attrs)
    assert json.loads(blocks.attrs["plumbline_spec"]) == json.loads(slice_)
    assert blocks.attrs["viscosity"] == 0.1
    assert open_store(tmp_path / "blocks.zarr")["state"].encoding["chunks"] == (7, 6)
    assert {path.name for path in tmp_path.iterdir()} == {"own.zarr", "whole.zarr", "blocks.zarr"}


@pytest.mark.parametrize("held", [0, 2**26])
def test_a_block_that_fails_leaves_nothing(spec, tmp_path, monkeypatch, held):
    monkeypatch.setattr(blocks_module, "HELD_BYTES", held)

    def blocks():
        whole = spec.draw_part(0)
        yield whole.isel(sample=slice(0, 3))
        yield whole.isel(sample=slice(3, 6))
        raise RuntimeError("no third block")

    with pytest.raises(RuntimeError, match="no third block"):
        write_in_blocks(blocks(), 24, tmp_path / "failed.zarr", dict)
    assert {path.name for path in tmp_path.iterdir()} == {"own.zarr"}


@pytest.fixture
def many(monkeypatch):
    """Variables of all types, some in several chunks, and one whose samples are divided among chunks."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 200)
    monkeypatch.setattr(store, "LARGEST_CHUNK_BYTES", 800)
    rng = np.random.default_rng(0)
    state = rng.standard_normal((61, 4)).astype(np.float32)
    state[20:40] = 0  # chunks that contain only the fill value
    return xr.Dataset(
        {
            "state": (("sample", "x"), state, {"units": "m"}),
            "large": (("sample", "y", "x"), rng.standard_normal((61, 60, 4))),
            "flag": ("sample", rng.random(61) < 0.5),
            "small": ("sample", rng.integers(0, 9, 61).astype(np.uint8)),
            "gap": ("sample", np.where(np.arange(61) == 3, np.nan, 1.0)),
            "name": ("sample", np.array([f"{i}" for i in range(61)], object)),
            "matrix": (("row", "x"), rng.standard_normal((2, 4))),
        },
        coords={"sample": np.arange(61), "split": ("sample", np.repeat(["train", "test"], [40, 21]))},
        attrs={"viscosity": 0.1},
    )


@pytest.mark.parametrize("held", [0, 5_000, 2**26])
@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 40], list(range(1, 61)), [60]])
def test_a_store_does_not_depend_on_its_blocks(many, held, cuts, tmp_path, monkeypatch):
    store.write_store(many, tmp_path / "whole.zarr", {"created": "today"})
    monkeypatch.setattr(blocks_module, "HELD_BYTES", held)
    bounds = [0, *cuts, 61]
    blocks = (many.isel(sample=slice(a, b)) for a, b in pairwise(bounds))
    write_in_blocks(blocks, 61, tmp_path / "blocks.zarr", lambda: {"created": "today"})
    files = [
        {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        for path in (tmp_path / "whole.zarr", tmp_path / "blocks.zarr")
    ]
    assert len(files[0]) > 150
    assert files[0] == files[1]


@pytest.mark.parametrize("held", [0, 2**26])
def test_missing_samples_are_an_error(many, held, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "HELD_BYTES", held)
    blocks = (many.isel(sample=slice(a, a + 20)) for a in (0, 20))
    with pytest.raises(ValueError, match="have 40 samples, expected 61"):
        write_in_blocks(blocks, 61, tmp_path / "short.zarr", dict)
    assert not list(tmp_path.iterdir())


def test_blocks_that_differ_are_an_error(many, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "HELD_BYTES", 0)
    other = many.isel(sample=slice(30, 61)).assign(state=many["state"][30:].astype(np.float64))
    with pytest.raises(ValueError, match="differ in shape or type of: state"):
        write_in_blocks([many.isel(sample=slice(0, 30)), other], 61, tmp_path / "other.zarr", dict)
    assert not list(tmp_path.iterdir())


class Fields(DatasetSpec):
    """Random fields of 16 KB, drawn in NumPy."""

    kind: Literal["fields_of_a_test"] = "fields_of_a_test"

    def draw(self, indices, splits):
        state = normals(self.seed, indices, 4096).astype(np.float32)
        return xr.Dataset({"state": (("sample", "x"), state)})


def test_a_block_bounds_the_memory_of_a_generated_part(tmp_path, monkeypatch):
    """33 MB in blocks of 1 MB take less than a third of what they take at once."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 2**19)
    monkeypatch.setattr(blocks_module, "HELD_BYTES", 2**20)
    spec = Fields(parts=1, splits={"train": 2000, "validation": 10, "test": 10})
    monkeypatch.setattr(generating, "of_kind", lambda *_: spec)
    peaks = []
    for block_bytes in (2**20, 2**40):
        monkeypatch.setattr(Fields, "block_bytes", block_bytes)
        tracemalloc.start()
        generate(spec.canonical(), part=0, output=tmp_path / f"{block_bytes}.zarr")
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    assert peaks[0] < 20, peaks
    assert peaks[1] > 66, peaks
    assert contents(tmp_path / f"{2**20}.zarr") == contents(tmp_path / f"{2**40}.zarr")

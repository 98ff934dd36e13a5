"""Stores that are written in blocks: those of the whole dataset."""

import json

import numpy as np
import pytest
import xarray as xr

from plumbline import datasets
from plumbline.datasets.stored import StoredSpec
from plumbline.stages.generate import generate
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


@pytest.mark.parametrize("part", [0, 1])
def test_a_part_that_is_drawn_in_blocks_is_the_part(spec, part, tmp_path, monkeypatch):
    slice_ = spec.canonical()
    generate(slice_, part=part, output=tmp_path / "whole.zarr")
    size = spec.sample_bytes()
    assert size > 6 * 4 + 2 * 8 + 8
    monkeypatch.setattr(datasets, "BLOCK_BYTES", 5 * size)
    monkeypatch.setattr(store, "CHUNK_BYTES", 7 * 6 * 4)
    assert len(list(spec.draw_part_in_blocks(part))) == 4
    generate(slice_, part=part, output=tmp_path / "blocks.zarr")
    whole, blocks = load_store(tmp_path / "whole.zarr"), load_store(tmp_path / "blocks.zarr")
    xr.testing.assert_identical(whole.drop_attrs(deep=False), blocks.drop_attrs(deep=False))
    assert set(whole.attrs) == set(blocks.attrs)
    assert json.loads(blocks.attrs["plumbline_spec"]) == json.loads(slice_)
    assert blocks.attrs["viscosity"] == 0.1
    assert open_store(tmp_path / "blocks.zarr")["state"].encoding["chunks"] == (7, 6)
    assert {path.name for path in tmp_path.iterdir()} == {"own.zarr", "whole.zarr", "blocks.zarr"}


def test_a_block_that_fails_leaves_nothing(spec, tmp_path):
    def blocks():
        whole = spec.draw_part(0)
        yield whole.isel(sample=slice(0, 3))
        yield whole.isel(sample=slice(3, 6))
        raise RuntimeError("no third block")

    with pytest.raises(RuntimeError, match="no third block"):
        write_in_blocks(blocks(), tmp_path / "failed.zarr", dict)
    assert {path.name for path in tmp_path.iterdir()} == {"own.zarr"}

"""Stores: whole or not at all, provenance, errors."""

import numpy as np
import pytest
import xarray as xr

from plumbline import store
from plumbline.datasets.burgers import BurgersSpec
from plumbline.datasets.combustion import CombustionSpec
from plumbline.datasets.kolmogorov import KolmogorovSpec

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
    (tmp_path / ".one.zarr.99.partial").mkdir()  # of a job that was killed
    store.write_store(SPECS[0].draw_part(0), path)
    store.write_store(SPECS[0].draw_part(1), path)
    assert store.open_store(path).sizes["sample"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["one.zarr"]


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

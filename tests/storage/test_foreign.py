"""Zarr stores of other programs are read with the values that were written."""

import logging
import shutil

import numpy as np
import pytest
import xarray as xr
import zarr

from plumbline.datasets._download import DataFileError
from plumbline.storage.foreign import open_foreign_store


@pytest.fixture
def fields():
    values = np.round(np.random.default_rng(0).random((40, 4, 8)), 1).astype("f4")
    assert (values == 0).any()
    return xr.Dataset({"state": (("sample", "time", "x"), values)})


def raw_store(path, values, zarr_format, written=40, **create):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    named = {"dimension_names": ("sample", "time", "x")} if zarr_format == 3 else {}
    array = group.create_array("state", shape=(40, 4, 8), dtype="f4", chunks=(10, 4, 8), **named, **create)
    array[:written] = values[:written]
    if zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["sample", "time", "x"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_fill_value_of_zero_masks_nothing(tmp_path, fields, zarr_format):
    raw_store(tmp_path / "a.zarr", fields["state"].values, zarr_format, fill_value=0)
    opened = open_foreign_store(str(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(opened["state"].values, fields["state"].values)
    assert opened["state"].dtype == np.float32


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_missing_chunk_is_the_fill_value_and_is_counted(tmp_path, fields, zarr_format, caplog):
    raw_store(tmp_path / "a.zarr", fields["state"].values, zarr_format, written=30, fill_value=0)
    with caplog.at_level(logging.WARNING, logger="plumbline"):
        opened = open_foreign_store(str(tmp_path / "a.zarr"))
    assert (opened["state"].values[30:] == 0).all()
    assert "1 of 4 chunks of state are not stored" in caplog.text


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_declared_fill_value_marks_missing_values(tmp_path, fields, zarr_format):
    fields["state"].values[3, 1, 2] = np.nan
    fields["state"].encoding = {"_FillValue": np.float32(-9999)}
    fields.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=False)
    opened = open_foreign_store(str(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(opened["state"].values, fields["state"].values)


def test_packed_numbers_are_unpacked(tmp_path, fields):
    fields["state"].encoding = {"dtype": "i2", "scale_factor": 0.1, "add_offset": 0.0, "_FillValue": -9999}
    fields.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    opened = open_foreign_store(str(tmp_path / "a.zarr"))
    np.testing.assert_allclose(opened["state"].values, fields["state"].values, atol=1e-7)


def test_dates_and_durations_are_decoded(tmp_path, fields):
    hours = np.arange(4) * np.timedelta64(1, "h")
    dated = fields.assign_coords(time=np.datetime64("2020-01-01", "ns") + hours, x=np.arange(8) * 0.1)
    dated["lag"] = ("time", hours)
    dated.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    opened = open_foreign_store(str(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(opened["time"].values, dated["time"].values)
    np.testing.assert_array_equal(opened["lag"].values, hours)


def test_zip_files_and_addresses_are_opened(tmp_path, fields):
    fields.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=False)
    shutil.make_archive(str(tmp_path / "a.zarr"), "zip", tmp_path / "a.zarr")
    for path in (f"{tmp_path}/a.zarr.zip", f"file://{tmp_path}/a.zarr"):
        np.testing.assert_array_equal(open_foreign_store(path)["state"].values, fields["state"].values)


@pytest.mark.rejects
def test_what_is_no_store_is_refused_by_path_and_never_to_be_deleted(tmp_path, fields):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zarr").write_text("no store")
    group = zarr.open_group(tmp_path / "unnamed.zarr", mode="w", zarr_format=3)
    group.create_array("u", shape=(4, 2), dtype="f4")
    for path, said in [
        (tmp_path / "nothere.zarr", "there is nothing at"),
        (tmp_path / "empty", "not a zarr group"),
        (tmp_path / "text.zarr", "not a zip file with a zarr store"),
        (tmp_path / "unnamed.zarr", "u do not name their dimensions"),
        ("s3://bucket/a.zarr", "needs the package s3fs"),
    ]:
        with pytest.raises(DataFileError, match=said) as refused:
            open_foreign_store(str(path))
        assert str(path) in str(refused.value)
        assert "elete" not in str(refused.value)

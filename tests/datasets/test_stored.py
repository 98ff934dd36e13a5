"""A user's store: its splits, names, attributes and values are kept, or refused with a clear error."""

import logging
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from plumbline.datasets._download import DataFileError
from plumbline.datasets.stored import StoredSpec
from plumbline.storage.store import open_store, provenance, write_store

SPLITS = {"train": 24, "validation": 8, "test": 8}


@pytest.fixture
def fields():
    values = np.random.default_rng(0).random((40, 4, 8)).astype("f4")
    return xr.Dataset({"state": (("sample", "time", "x"), values), "case": ("sample", np.arange(40))})


@pytest.fixture
def written(tmp_path):
    def write(dataset):
        dataset.to_zarr(tmp_path / "own.zarr", mode="w", zarr_format=3, consolidated=False)
        return str(tmp_path / "own.zarr")

    return write


def drawn(path, **keys):
    return StoredSpec(path=path, parts=1, **{"splits": SPLITS, **keys}).draw_part(0)


def with_own_splits(fields):
    names = np.array(["test"] * 8 + ["train"] * 24 + ["validation"] * 8, dtype=object)
    return fields.assign_coords(split=("sample", names))


@pytest.mark.parametrize("keys", [{}, {"splits": SPLITS}])
def test_the_stores_own_splits_are_kept_in_their_order(fields, written, keys):
    path = written(with_own_splits(fields))
    spec = StoredSpec(path=path, parts=2, **keys)
    assert spec.splits.model_dump() == SPLITS
    data = xr.concat([spec.draw_part(part) for part in range(2)], dim="sample")
    assert data["case"].values[data["split"].values == "test"].tolist() == list(range(8))
    assert data["case"].values[data["split"].values == "train"].tolist() == list(range(8, 32))
    # A job has the sizes in its slice and does not need the store to know them.
    assert StoredSpec.model_validate(spec.model_dump() | {"path": "elsewhere.zarr"}).splits == spec.splits


@pytest.mark.rejects
def test_splits_that_disagree_or_cannot_be_told_are_refused(fields, written):
    path = written(with_own_splits(fields))
    with pytest.raises(DataFileError, match=r"own splits \(train: 24.*asks for others \(train: 20"):
        drawn(path, splits={"train": 20, "validation": 8, "test": 8})
    other = with_own_splits(fields)
    other["split"] = other["split"].where(other["split"] != "validation", "valid")
    path = written(other)
    with pytest.raises(DataFileError, match="`split` holds valid, expected train, validation, test"):
        drawn(path)
    assert drawn(path, split_names={"valid": "validation"}).sizes["sample"] == 40
    with pytest.raises(ValueError, match="`splits` is required"):
        StoredSpec(path=written(fields), parts=1)


def test_other_names_and_orders_are_brought_to_ours_by_name(fields, written):
    strange = fields.transpose("x", "time", "sample").rename(state="u", sample="batch", time="t")
    path = written(strange)
    same = drawn(path, rename={"u": "state", "batch": "sample", "t": "time"}, dimensions=("time", "x"))
    assert same["state"].dims == ("sample", "time", "x")
    np.testing.assert_array_equal(same["state"].values, fields["state"].values[same["case"].values])
    for keys, said in [
        ({}, r"no variable `state`; it has case, u.*`dataset.rename`"),
        ({"rename": {"u": "state"}}, r"\(x, t, batch\), and none is `sample`"),
        ({"rename": {"v": "state"}}, r"`dataset.rename.v`: .* has no variable or dimension of this name"),
        (
            {"rename": {"u": "state", "batch": "sample"}, "dimensions": ("time", "x")},
            "`dataset.dimensions` must list the dimensions",
        ),
    ]:
        with pytest.raises(DataFileError, match=said):
            drawn(path, **keys)


@pytest.mark.rejects
def test_names_of_splits_that_nothing_bears_are_refused(fields, written):
    with pytest.raises(ValueError, match=r"`dataset.split_names`: .* has no variable `split`: omit it"):
        StoredSpec(path=written(fields), splits=SPLITS, split_names={"valid": "validation"}).draw_part(0)
    with pytest.raises(ValueError, match=r"`dataset.split_names.dev`: .* holds test, train, validation only"):
        StoredSpec(path=written(with_own_splits(fields)), split_names={"dev": "validation"})


@pytest.mark.rejects
@pytest.mark.parametrize("period", [0.0, -1.0, float("inf"), float("nan"), "ten"])
def test_periods_are_positive_numbers(period):
    with pytest.raises(ValueError, match="periods"):
        StoredSpec(path="own.zarr", splits=SPLITS, periods={"x": period})


def test_attributes_of_the_user_are_kept(fields, written):
    own = {"created": "me", "device_under_test": "rig 4", "pythonic": 1, "viscosity": 0.1}
    attrs = drawn(written(fields.assign_attrs(own)), attributes={"drag": 0.2}).attrs
    assert attrs == own | {"drag": 0.2}
    ours = drawn(written(fields.assign_attrs({**provenance("{}"), "version_of_rig": "2"}))).attrs
    assert ours == {"version_of_rig": "2"}
    path = Path(written(fields.assign_attrs(own))).with_name("part.zarr")
    write_store(drawn(written(fields.assign_attrs(own))), path, provenance("{}"))
    kept = open_store(path).attrs
    assert kept["source_created"] == "me"
    assert kept["created"] != "me"
    assert kept["device_under_test"] == "rig 4"
    with pytest.raises(DataFileError, match=r"`dataset.attributes.viscosity` is 0.3, but .* has 0.1"):
        drawn(written(fields.assign_attrs(own)), attributes={"viscosity": 0.3})


def test_periods_are_those_of_dimensions(fields, written):
    path = written(fields)
    data = drawn(path, periods={"x": 2.0})
    assert data["x"].attrs["period"] == 2.0
    np.testing.assert_allclose(data["x"].values, np.arange(8) / 4)
    with pytest.raises(DataFileError, match=r"`dataset.periods.z`: .* it has time, x"):
        drawn(path, periods={"z": 1.0})
    marked = fields.assign_coords(x=("x", np.arange(8) / 4, {"period": 2.0}))
    with pytest.raises(DataFileError, match=r"is 1, but 'x' in .* has the period 2"):
        drawn(written(marked), periods={"x": 1.0})


def test_dates_become_seconds(fields, written):
    hours = np.datetime64("2020-01-01", "ns") + np.arange(4) * np.timedelta64(1, "h")
    data = drawn(written(fields.assign_coords(time=hours)))
    assert data["time"].values.tolist() == [0.0, 3600.0, 7200.0, 10800.0]
    assert data["time"].attrs["units"] == "s"
    data = drawn(written(fields.assign_coords(time=hours)), time_unit="h")
    assert data["time"].values.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert data["time"].attrs["units"] == "h"
    with pytest.raises(DataFileError, match=r"`dataset.time_unit`: .* has no dates or durations"):
        drawn(written(fields), time_unit="h")
    gap = hours.copy()
    gap[2] = "NaT"
    with pytest.raises(DataFileError, match="1 dates of 'time' are missing"):
        drawn(written(fields.assign_coords(time=gap)))


@pytest.mark.parametrize("dtype", ["i8", "u1", "f2", ">f4", ">i4", "f4"])
def test_the_same_numbers_in_any_type_are_the_same_samples(fields, written, dtype):
    whole = fields.assign(state=(fields["state"] * 200).round())
    expected = drawn(written(whole))["state"]
    found = drawn(written(whole.assign(state=whole["state"].astype(dtype))))["state"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.rejects
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.assign(state=d["state"] > 0.5), "`state` contains booleans"),
        (lambda d: d.assign(state=d["state"] * 1j), "`state` contains complex numbers"),
        (lambda d: d.assign(state=d["state"].astype(str)), "`state` contains text"),
        (lambda d: d.assign(state=d["state"].isel(time=0, x=0)), "one value per sample"),
        (lambda d: d.assign(condition=d["state"].isel(time=0, x=0)), r"`condition` must have the dimensions"),
        (lambda d: d.assign(state=d["state"] * 1e37), "values up to .* choose a larger unit"),
        (lambda d: d.assign(state=d["state"].astype("f8") + 1e9), "subtract an offset"),
        (lambda d: d.assign(state=(5_000_000 + d["state"].round()).astype("i8")), "subtract an offset"),
        (lambda d: d.assign(label=("sample", np.array(["cat", "dog"] * 20, dtype=object))),
         "`label` contains text"),
        (lambda d: d.rename(x="channel", time="x"),
         r"grid, found .*x, channel\): set `dataset.dimensions` to \[channel, x\]"),
        (lambda d: d.assign(split=("time", ["train"] * 4)),
         r"`split` has the dimensions \(time\), expected \(sample\)"),
        (lambda d: d.assign(speed=("sample", np.full(40, np.inf))),
         r"`speed` contains 40 .* \(0 missing, 40 infinite\)"),
    ],
)  # fmt: skip
def test_what_models_cannot_take_is_refused_by_variable(fields, written, change, said):
    with pytest.raises(DataFileError, match=said):
        drawn(written(change(fields)))


@pytest.mark.rejects
def test_missing_values_are_refused_with_their_samples(fields, written):
    fields["state"].values[7, 2:] = np.nan
    order = np.random.default_rng(0).permutation(40)
    place = int(np.flatnonzero(order == 7)[0])
    with pytest.raises(
        DataFileError, match=r"`state` contains 16 values .* \(16 missing, 0 infinite\), in 1 samples \(7\)"
    ):
        drawn(written(fields))
    # A part without the broken sample is drawn nevertheless.
    spec = StoredSpec(path=written(fields), parts=40, splits=SPLITS)
    assert spec.draw_part((place + 1) % 40).sizes["sample"] == 1


@pytest.mark.rejects
def test_a_fill_value_that_the_data_holds_is_named(tmp_path):
    """Zarr 2 does not distinguish a value of one from a missing value with the fill value one."""
    values = np.ones((40, 4, 8), "f4") * np.arange(40, dtype="f4")[:, None, None]
    group = zarr.open_group(tmp_path / "own.zarr", mode="w", zarr_format=2)
    array = group.create_array("state", shape=values.shape, dtype="f4", fill_value=1.0)
    array[:] = values
    array.attrs["_ARRAY_DIMENSIONS"] = ["sample", "time", "x"]
    message = (
        r"32 missing.* in 1 samples \(1\), where the array contains its fill value 1, which marks missing"
    )
    with pytest.raises(DataFileError, match=f"{message} values"):
        drawn(str(tmp_path / "own.zarr"))


def test_a_variation_near_the_rounding_of_single_precision_is_said(fields, written, caplog):
    """Float32 values that differ by one unit at 5,000,000 may be a rounded constant; integers are not."""
    with caplog.at_level(logging.WARNING, logger="plumbline"):
        drawn(written(fields.assign(state=5_000_000 + fields["state"].round())))
    assert "32 coordinates of `state` vary by less than a millionth of their size" in caplog.text

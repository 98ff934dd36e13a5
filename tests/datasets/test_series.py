"""Pairs of time series: their positions, their distributions, their files."""

import h5py
import numpy as np
import pandas as pd
import pytest

from plumbline.datasets import SplitSizes
from plumbline.datasets._download import DataFileError
from plumbline.datasets._series import places, series_pairs
from plumbline.datasets.series_file import SeriesFileSpec
from plumbline.datasets.sp500_series import SP500SeriesSpec
from plumbline.datasets.vector_autoregressions import VectorAutoregressionsSpec, stationary_covariance

SPLITS = SplitSizes(train=12, validation=4, test=4)


def test_every_split_goes_on_where_the_one_before_ended():
    system, place = places(SPLITS, 2, np.arange(20))
    for r in range(2):
        assert place[system == r].tolist() == list(range(10))
    with pytest.raises(ValueError, match=r"each must be a multiple of the 3 systems, found \[12, 4, 4\]"):
        places(SPLITS, 3, np.arange(20))


def test_pairs_are_as_far_apart_as_asked_and_within_their_period():
    series = np.arange(30)[:, None]
    before, after, system = series_pairs(series, 3, 2, SPLITS, np.arange(20))
    np.testing.assert_array_equal(after - before, 3)
    assert after[system == 0].max() < 15
    assert before[system == 1].min() == 15
    with pytest.raises(
        ValueError, match="30 steps in 2 periods are 15 per period, but `splits` and `ahead` require 16"
    ):
        series_pairs(series, 6, 2, SPLITS, np.arange(20))


@pytest.mark.parametrize("family", ["symmetric", "sparse", "persistent"])
@pytest.mark.parametrize("ahead", [1, 3])
def test_autoregressions_have_their_covariances(family, ahead):
    """With 40,000 pairs, entries have a relative standard error under 1%.

    The tolerance is 5% of the largest entry.
    """
    splits = {"train": 40_000, "validation": 2, "test": 2}
    spec = VectorAutoregressionsSpec(family=family, nodes=4, ahead=ahead, systems=2, parts=1, splits=splits)
    data = spec.draw_part(0)
    for r in range(2):
        own = data.isel(sample=np.flatnonzero(data["system"].values == r))
        x, y = own["condition"].values, own["state"].values
        covariance = stationary_covariance(spec.matrix(r))
        power = np.linalg.matrix_power(spec.matrix(r), ahead)
        scale = 0.05 * np.abs(covariance).max()
        np.testing.assert_allclose(x.T @ x / len(x), covariance, atol=scale)
        np.testing.assert_allclose(y.T @ y / len(y), covariance, atol=scale)
        np.testing.assert_allclose(y.T @ x / len(x), power @ covariance, atol=scale)
    assert np.abs(np.linalg.eigvals(spec.matrix(0))).max() < 0.96


def test_samples_do_not_depend_on_the_parts():
    keys = {"nodes": 3, "systems": 2, "splits": {"train": 12, "validation": 4, "test": 4}}
    whole = VectorAutoregressionsSpec(parts=1, **keys).draw_part(0)
    second = VectorAutoregressionsSpec(parts=2, **keys).draw_part(1)
    np.testing.assert_array_equal(whole["state"].values[10:], second["state"].values)


def test_stocks_are_in_the_order_of_time():
    splits = {"train": 1200, "validation": 192, "test": 192}
    weeks = SP500SeriesSpec(parts=1, splits=splits).draw_part(0)
    assert weeks["state"].shape == (1584, 20)
    assert float(weeks["state"].min()) >= 0
    # The target of one week is the condition of the next.
    first = weeks.isel(
        sample=np.flatnonzero((weeks["system"].values == 1) & (weeks["split"].values == "train"))
    )
    np.testing.assert_array_equal(first["state"].values[:-1], first["condition"].values[1:])
    days = SP500SeriesSpec(quantity="returns", systems=2, parts=1, splits=splits).draw_part(0)
    assert float(days["state"].min()) < 0


@pytest.fixture
def series():
    return np.random.default_rng(0).standard_normal((40, 3))


def drawn(path, **keys):
    return SeriesFileSpec(path=str(path), parts=1, splits=SPLITS.model_dump(), **keys).draw_part(0)


def test_files_of_both_kinds_hold_the_same(series, tmp_path):
    pd.DataFrame(series, columns=["a", "b", "c"]).to_csv(tmp_path / "series.csv", index=False)
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file["regions"] = series
    table, array = (
        drawn(tmp_path / "series.csv", ahead=2),
        drawn(tmp_path / "series.h5", ahead=2, array="regions"),
    )
    np.testing.assert_allclose(table["condition"], series[:20].astype(np.float32))
    np.testing.assert_allclose(table["state"], series[2:22].astype(np.float32))
    np.testing.assert_array_equal(table["state"], array["state"])
    assert table["node"].values.tolist() == ["a", "b", "c"]


def test_what_is_wrong_with_a_file_is_said(series, tmp_path):
    with pytest.raises(DataFileError, match=r"`path`: there is no file .*nowhere\.csv"):
        drawn(tmp_path / "nowhere.csv")
    pd.DataFrame({"day": ["Monday"] * 40, "a": series[:, 0]}).to_csv(tmp_path / "days.csv", index=False)
    with pytest.raises(
        DataFileError, match=r"column 'day', row 1: expected a number, found 'Monday' \(40 of 40"
    ):
        drawn(tmp_path / "days.csv")
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file["regions"], file["flat"] = np.where(series > 2, np.nan, series), series[:, 0]
    with pytest.raises(DataFileError, match=r"there is no array 'series'; there are \['flat', 'regions'\]"):
        drawn(tmp_path / "series.h5")
    with pytest.raises(DataFileError, match=r"'flat' should be \(time, node\), but has shape \(40,\)"):
        drawn(tmp_path / "series.h5", array="flat")
    with pytest.raises(DataFileError, match=r"\d+ values are missing or not finite"):
        drawn(tmp_path / "series.h5", array="regions")


@pytest.mark.parametrize(
    "name", ["series.tsv", "SERIES.CSV", "series.csv.gz", "series.parquet", "series.npy"]
)
def test_the_suffix_says_the_format(series, tmp_path, name):
    path = tmp_path / name
    table = pd.DataFrame(series, columns=["a", "b", "c"])
    if name.endswith("npy"):
        np.save(path, series)
    elif name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if "tsv" in name else ",", index=False)
    np.testing.assert_array_equal(drawn(path)["condition"], series[:20].astype(np.float32))
    with pytest.raises(DataFileError, match=r"suffix \.txt, expected \.csv, \.tsv"):
        drawn(path.rename(tmp_path / "series.txt"))


def test_nodes_are_chosen_by_column_and_arrays_turned_by_name(series, tmp_path):
    dates = pd.date_range("2020-01-01", periods=40)
    pd.DataFrame(series, columns=["a", "b", "c"]).assign(day=dates).to_csv(tmp_path / "days.csv", index=False)
    with pytest.raises(DataFileError, match=r"column 'day', row 1: expected a number.*`dataset\.columns`"):
        drawn(tmp_path / "days.csv")
    chosen = drawn(tmp_path / "days.csv", columns=["c", "a"])
    assert chosen["node"].values.tolist() == ["c", "a"]
    np.testing.assert_array_equal(chosen["condition"], series[:20, [2, 0]].astype(np.float32))
    np.save(tmp_path / "turned.npy", series.T)
    with pytest.raises(ValueError, match=r"more nodes than steps.*`dataset\.order`"):
        drawn(tmp_path / "turned.npy")
    turned = drawn(tmp_path / "turned.npy", order=["node", "time"])
    np.testing.assert_array_equal(turned["condition"], series[:20].astype(np.float32))


@pytest.mark.rejects
def test_a_column_that_tells_the_time_is_no_node_without_a_word(tmp_path):
    rows = [f"{20200101 + i},{i % 3},{i % 5}" for i in range(40)]
    (tmp_path / "dated.csv").write_text("\n".join(["Date,a,b", *rows]))
    keys = {
        "path": str(tmp_path / "dated.csv"),
        "parts": 1,
        "splits": {"train": 20, "validation": 4, "test": 4},
    }
    with pytest.raises(ValueError, match="the column 'Date' increases with every row, so it is the time"):
        SeriesFileSpec(**keys).draw_part(0)
    assert SeriesFileSpec(**keys, columns=("a", "b")).draw_part(0)["state"].shape == (28, 2)

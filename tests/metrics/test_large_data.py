"""Evaluation of a dataset whose train split stays on disk: the same numbers as in memory."""

import json

import numpy as np
import pytest
import xarray as xr

from plumbline.metrics import _splits, standardised
from plumbline.metrics._splits import training_moments, training_scale, values_of
from plumbline.stages.evaluate import evaluate, load_for_metrics
from plumbline.storage.store import load_parts, load_store, open_parts, write_store

METRICS = {
    "sliced_wasserstein": {"kind": "sliced_wasserstein"},
    "marginal_wasserstein": {"kind": "marginal_wasserstein"},
    "mmd": {"kind": "mmd"},
    "precision_recall": {"kind": "precision_recall"},
    "memorisation": {"kind": "memorisation"},
    "conditional_error": {"kind": "conditional_error"},
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two parts of a table, the splits in turns, and samples of a method."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    paths = []
    for part in range(2):
        names = np.array(["train", "train", "train", "validation", "test"])[np.arange(150) % 5]
        state = (3 + 2 * rng.standard_normal((150, 5))).astype(np.float32)
        state[:, 4] = 7.0
        data = xr.Dataset(
            {"state": (("sample", "x"), state), "known": ("x", np.arange(5.0))},
            coords={"split": ("sample", names), "x": np.arange(5) / 5},
            attrs={"viscosity": 0.1},
        )
        paths.append(folder / f"part-{part}.zarr")
        write_store(data, paths[-1])
    drawn = xr.Dataset(
        {
            "state": (("sample", "x"), (3 + 2 * rng.standard_normal((40, 5))).astype(np.float32)),
            "case": ("sample", np.arange(40)),
        }
    )
    write_store(drawn, folder / "samples.zarr")
    return paths, folder / "samples.zarr"


def spec(memory):
    counts = {"count": 40, "parts": 1}
    return json.dumps(
        {"metrics": METRICS, "constraints": {}, "models": {}, "samples": counts, "memory": memory}
    )


def test_an_evaluation_is_the_same_with_the_train_split_on_disk(stored, tmp_path, monkeypatch, caplog):
    paths, samples = stored
    caplog.set_level("INFO")
    monkeypatch.setattr(_splits, "BLOCK_BYTES", 7 * 20)  # blocks of seven samples
    evaluate(spec(2.0), seed=0, dataset=paths, samples=[samples], output=tmp_path / "held.zarr")
    assert "block by block" not in caplog.text
    evaluate(spec(1e-9), seed=0, dataset=paths, samples=[samples], output=tmp_path / "lazy.zarr")
    assert "block by block" in caplog.text
    held, lazy = load_store(tmp_path / "held.zarr"), load_store(tmp_path / "lazy.zarr")
    assert len(held) > 20
    xr.testing.assert_equal(held, lazy)


def test_only_what_is_asked_for_is_in_memory(stored):
    paths, _ = stored
    lazy, whole = load_for_metrics(paths, 1e-9), load_parts(paths)
    assert lazy["state"].chunks is not None
    assert lazy.attrs == whole.attrs
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(values_of(lazy, split), values_of(whole, split))
    np.testing.assert_array_equal(lazy["known"].values, whole["known"].values)
    np.testing.assert_array_equal(lazy["x"].values, whole["x"].values)


@pytest.mark.parametrize("per_column", [True, False])
def test_moments_in_blocks_are_those_of_the_whole_split(stored, per_column, monkeypatch):
    paths, _ = stored
    monkeypatch.setattr(_splits, "BLOCK_BYTES", 7 * 20)
    training = values_of(load_parts(paths), "train").astype(np.float64)
    std, largest = training_moments(open_parts(paths), per_column=per_column)
    axis = 0 if per_column else None
    np.testing.assert_allclose(std, training.std(axis), rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(largest, np.abs(training).max(axis))


def test_the_scale_is_computed_once(stored, monkeypatch):
    paths, samples = stored
    data = _splits.with_training_scale(load_parts(paths))
    monkeypatch.setattr(_splits, "training_blocks", None)
    assert training_scale(data)[4] == 1.0  # a constant column
    drawn, test = standardised(load_store(samples), data, "test")
    assert drawn.shape == test.shape == (40, 5)

"""Samples of another program: rows, costs that the file states, refusals where they do not fit."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.datasets.gaussian import GaussianSpec
from plumbline.samplers import FromFileSpec, SamplingTask
from plumbline.samplers.from_file import SamplesFileError
from plumbline.stages.evaluate import evaluate
from plumbline.stages.sample import sample
from plumbline.storage.store import load_store, write_store
from plumbline.study import StudyError, load_study

X = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


def task(first=0, count=4, shape=(8,), seed=0):
    return SamplingTask({"state": torch.zeros(count, *shape)}, first=first, seed=seed)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".zarr"])
def test_rows_are_those_of_the_task(tmp_path, suffix):
    path = tmp_path / f"samples{suffix}"
    if suffix == ".npy":
        np.save(path, X)
    elif suffix == ".npz":
        np.savez(path, samples=X, network_evaluations=35)
    else:
        store = xr.Dataset({"state": (("sample", "coordinate"), X)}, attrs={"network_evaluations": 35})
        store.to_zarr(path)
    drawn = FromFileSpec(path=str(path)).sample(None, task(first=3))
    np.testing.assert_array_equal(drawn.state.numpy(), X[3:7])
    assert np.isnan(drawn.costs.backward_passes)
    assert suffix == ".npy" or drawn.costs.network_evaluations == 35


def test_each_seed_has_its_file(tmp_path):
    for seed in (0, 5):
        np.save(tmp_path / f"mine-{seed}.npy", X + seed)
    spec = FromFileSpec(path=str(tmp_path / "mine-{seed}.npy"))
    np.testing.assert_array_equal(spec.sample(None, task(seed=5)).state.numpy(), (X + 5)[:4])
    assert [file.path for file in spec.input_files()] == [str(tmp_path / f"mine-{s}.npy") for s in (0, 5)]


@pytest.mark.parametrize(
    ("array", "asked", "message"),
    [
        (X, task(first=18), "contains 20 samples, and the study requires more"),
        (X, task(shape=(7,)), r"have the shape \(8,\), and those of the dataset have the shape \(7,\)"),
        (X.astype(complex), task(), "samples must be real numbers, found complex128"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, array, asked, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(SamplesFileError, match=message):
        FromFileSpec(path=str(tmp_path / "x.npy")).draw(None, asked)


def test_files_that_cannot_be_read_are_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=X, b=X)
    (tmp_path / "x.csv").write_text("1,2\n")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:200])
    (tmp_path / "text.npy").write_text("1,2\n")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "nan.npy", np.where(np.arange(20)[:, None] == 2, np.nan, X))
    for name, message in (
        ("two.npz", "expected one array of samples, or one called `state`, found a, b"),
        ("x.csv", "samples are read from .npz, .npy, .zarr"),
        ("none.npy", "there is no such file"),
        ("torn.npz", r"torn\.npz: cannot be read as \.npz"),
        ("text.npy", r"text\.npy: cannot be read as \.npy"),
        ("objects.npy", r"objects\.npy: cannot be read as \.npy"),
        ("nan.npy", r"nan\.npy: sample 2 has values that are not finite"),
    ):
        with pytest.raises(SamplesFileError, match=message):
            FromFileSpec(path=str(tmp_path / name)).draw(None, task())


STUDY = """
extends: gaussian
title: Another program
description: Samples of another program beside those of the library.
methods:
  theirs: {samples: theirs.npz}
seeds: [0]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "samples: theirs.npz",
            "samples: x.npz, model: gaussian",
            "methods.theirs: give `samples`, or `model` and",
        ),
        ("seeds: [0]", "seeds: [0, 1]", "methods.theirs.samples: one file for 2 seeds: write `{seed}`"),
        (
            "samples: theirs.npz",
            "sampler: {kind: heun}",
            "methods.theirs.model: `heun` draws from a model: name one of",
        ),
        (
            "samples: theirs.npz",
            "model: gaussian, sampler: {kind: from_file, path: x.npz}",
            "methods.theirs.model: `from_file` takes no model",
        ),
    ],
)
def test_a_study_is_checked(tmp_path, old, new, message):
    path = tmp_path / "own.yaml"
    path.write_text(STUDY.replace(old, new) + "scales: {smoke: {seeds: null}, laptop: {seeds: null}}\n")
    with pytest.raises(StudyError) as error:
        load_study(path, "paper")
    assert message in str(error.value)


def test_they_are_drawn_and_evaluated_with_the_costs_of_the_file(tmp_path):
    """Part by part, with a metric whose value is known: the mean absolute residual of the equalities."""
    data = GaussianSpec(parts=1, splits={"train": 8, "validation": 20, "test": 20})
    write_store(data.draw_part(0), tmp_path / "data.zarr")
    np.savez(tmp_path / "theirs.npz", state=X, network_evaluations=7)
    method = {"sampler": {"kind": "from_file", "path": str(tmp_path / "theirs.npz")}}
    counts = {"count": 20, "parts": 2}
    values = {
        "method": method,
        "constraints": {},
        "drawn_from": [],
        "constraint_models": {},
        "observation": None,
        "samples": counts,
    }
    parts = [tmp_path / f"part-{part}.zarr" for part in (0, 1)]
    for part, output in enumerate(parts):
        sample(
            json.dumps(values), seed=0, part=part, dataset=[tmp_path / "data.zarr"], model=[], output=output
        )
    stored = [load_store(path) for path in parts]
    np.testing.assert_array_equal(np.concatenate([one["state"].values for one in stored]), X)
    assert (
        stored[0].attrs["network_evaluations"] == 7 and "sampling_seconds_per_sample" not in stored[0].attrs
    )
    constraint = {"kind": "linear_equality", "matrix": "matrix", "target": "target"}
    judging = {
        "metrics": {"d": {"kind": "constraint_distance"}},
        "constraints": {"e": constraint},
        "models": {},
        "samples": counts,
        "memory": 2.0,
    }
    evaluate(
        json.dumps(judging),
        seed=0,
        dataset=[tmp_path / "data.zarr"],
        samples=parts,
        output=tmp_path / "m.zarr",
    )
    found = load_store(tmp_path / "m.zarr")
    residual = X.astype(float) @ stored_matrix(tmp_path).T - target(tmp_path)
    assert float(found["distance_e"]) == pytest.approx(np.abs(residual).mean(), rel=1e-5)
    assert found.attrs["network_evaluations"] == 7


def stored_matrix(folder):
    return load_store(folder / "data.zarr")["matrix"].values


def target(folder):
    return load_store(folder / "data.zarr")["target"].values[-20:]

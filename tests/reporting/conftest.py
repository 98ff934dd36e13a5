"""A comparison with known values, in the format of the `compare` stage."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from plumbline.reporting.summary import summarise
from plumbline.storage.store import provenance
from plumbline.study import load_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def comparison():
    """Combustion at smoke scale with invented results: method g has the metric values of its position g."""
    study = load_study(ROOT / "config/studies/combustion.yaml", "smoke")
    methods = ["real", "unconstrained", "projected", "collapsed"]
    rng = np.random.default_rng(0)
    seeds, samples = 2, 16

    def numbers(values, name, better, units="1"):
        spread = np.array([-1.0, 1.0]) * 0.01
        data = np.array(values)[:, None] * (1 + spread)
        return (("methods", "seed"), data, {"long_name": name, "better": better, "units": units})

    each = np.abs(rng.standard_normal((4, seeds, samples))) * np.array([1e-8, 1.0, 1e-8, 0.5])[:, None, None]
    row = np.arange(10.0)
    data = xr.Dataset(
        {
            "distance_elements": numbers([1e-8, 1.0, 2e-8, 0.5], "distance to elements", "lower", "mol"),
            "distance_elements_each": (("methods", "seed", "sample"), each),
            "sliced_wasserstein": numbers([0.2, 0.4, 0.3, 0.05], "sliced Wasserstein distance", "lower"),
            "precision": numbers([0.9, 0.8, 0.7, 0.99], "precision", "higher"),
            "recall": numbers([0.9, 0.8, 0.7, 0.1], "recall", "higher"),
            "memorisation": numbers(
                [1.0, 1.1, 1.2, 0.1], "distance to training data, relative to real data", "neither"
            ),
            "marginal_wasserstein_by": (("methods", "seed", "species"), rng.random((4, seeds, 12))),
            "examples": (("methods", "example", "species"), rng.random((4, 6, 12)), {"units": "mol"}),
            "parameters": ("model", [100.0, 0.0]),
            "training_step": (("model", "seed", "row"), np.broadcast_to(row, (2, seeds, 10)).copy()),
            "training_loss": (("model", "seed", "row"), np.exp(-row) * np.ones((2, seeds, 1))),
            "training_validation_loss": (
                ("model", "seed", "row"),
                np.where([[row % 5 == 4], [row < 0]], 2.0, np.nan) * np.ones((2, seeds, 1)),
            ),
            "training_wall_time_seconds": (
                ("model", "seed", "row"),
                np.broadcast_to(row, (2, seeds, 10)).copy(),
            ),
            **{
                f"cost_{name}": (
                    ("methods", "seed"),
                    np.array([np.nan, 5.0, 6.0, 7.0])[:, None] * np.ones(seeds),
                )
                for name in (
                    "network_evaluations",
                    "backward_passes",
                    "projection_solves",
                    "sampling_seconds_per_sample",
                )
            },
        },
        coords={
            "methods": methods,
            "seed": [0, 1],
            "species": list(study.dataset.species),
            "model": list(study.models),
        },
    )
    devices = json.dumps({"real": "none", "projected": "cpu"})
    summary = summarise(study).model_dump_json()
    data.attrs = {
        "study": study.canonical(),
        "summary": summary,
        "samples_devices": devices,
        **provenance(study.canonical()),
    }
    return data

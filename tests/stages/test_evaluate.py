"""evaluate: the samples that metrics receive."""

import json

import numpy as np
import xarray as xr

from plumbline.stages.evaluate import evaluate
from plumbline.storage.store import open_store, write_store

CASES, DRAWS = 8, 5


def test_metrics_of_sets_take_the_first_draw_for_each_test_sample(tmp_path):
    """All draws except the first are far off: a distance of sets ignores them, a per-sample metric
    does not."""
    generator = np.random.default_rng(0)
    states = generator.normal(size=(24, 2)).astype(np.float32)
    splits = np.repeat(["train", "validation", "test"], CASES)
    data = xr.Dataset({"state": (("sample", "axis"), states)}, {"split": ("sample", splits)})
    write_store(data, tmp_path / "data.zarr", {})
    cases = np.arange(CASES * DRAWS) // DRAWS
    drawn = states[2 * CASES + cases]
    drawn[np.arange(CASES * DRAWS) % DRAWS != 0] += 100
    samples = xr.Dataset({"state": (("sample", "axis"), drawn), "case": ("sample", cases)})
    write_store(samples, tmp_path / "samples.zarr", {})
    spec = json.dumps(
        {
            "samples": {"count": CASES * DRAWS, "samples_per_case": DRAWS},
            "constraints": {"total": {"kind": "sum", "total": 0.0}},
            "metrics": {name: {"kind": name} for name in ("constraint_distance", "mmd", "memorisation")},
            "models": {},
            "memory": 2.0,
        }
    )
    where = {"seed": 0, "dataset": [tmp_path / "data.zarr"]}
    evaluate(spec, samples=[tmp_path / "samples.zarr"], output=tmp_path / "drawn.zarr", **where)
    evaluate(spec, samples=[], output=tmp_path / "real.zarr", **where)
    found, real = open_store(tmp_path / "drawn.zarr"), open_store(tmp_path / "real.zarr")
    assert float(found["mmd"]) < 1e-3 < float(real["mmd"])
    assert float(found["distance_total"]) > 100 * (DRAWS - 1) / DRAWS
    assert int(found["distance_total_each"].notnull().sum()) == CASES * DRAWS
    assert int(found["nearest_training_each"].notnull().sum()) == CASES
    assert int(real["distance_total_each"].notnull().sum()) == CASES

"""The metric of shifted data is the shift."""

import numpy as np
import pytest
import xarray as xr
from example import ExampleSpec

from plumbline.metrics import EvaluationContext


def test_a_shift_is_measured():
    state = xr.DataArray(np.random.default_rng(0).normal(size=(10, 3)), dims=("sample", "coordinate"))
    data = xr.Dataset({"state": state}).assign_coords(split=("sample", ["test"] * 10))
    shifted = data.assign(state=state + 2.0)
    found = ExampleSpec().evaluate(shifted, data, EvaluationContext({}, {}))
    assert float(found["example"]) == pytest.approx(2.0)

"""compare: the examples that the report shows for ensembles."""

import numpy as np
import pytest
import xarray as xr

from plumbline.stages.compare import _examples
from plumbline.storage.store import write_store


@pytest.mark.parametrize("draws", [1, 3])
def test_each_example_stands_below_the_state_that_it_was_drawn_for(tmp_path, draws):
    """In ensembles of three, sample i is drawn for test sample i // 3. The first one of each is shown."""
    splits = np.repeat(["train", "validation", "test"], 4)
    truth = np.arange(12.0)[:, None, None, None] * np.ones((1, 1, 2, 2))
    dims = ("sample", "time", "y", "x")
    data = xr.Dataset({"state": (dims, truth)}, {"sample": np.arange(12), "split": ("sample", splits)})
    write_store(data, tmp_path / "part.zarr", {})
    cases = np.arange(4 * draws) // draws
    drawn = truth[8 + cases] + 0.1 * (np.arange(4 * draws) % draws)[:, None, None, None]
    write_store(xr.Dataset({"state": (dims, drawn)}), tmp_path / "samples.zarr", {})
    shown = _examples([tmp_path / "part.zarr"], {"drawn": tmp_path / "samples.zarr"}, draws)["examples"]
    assert shown.attrs["draws"] == draws
    np.testing.assert_array_equal(shown.sel(methods="drawn"), shown.sel(methods="real"))
    np.testing.assert_array_equal(shown.sel(methods="real")[:, 0, 0, 0], [8, 9, 10, 11])

"""What models must know of a dataset before they see its samples."""

from __future__ import annotations

import xarray as xr

from plumbline.networks import SampleShape


def sample_shape(example: xr.Dataset) -> SampleShape:
    """Shape, periodicity and condition of the samples of a dataset, from its coordinates."""
    state = example["state"]
    grid = state.dims[1:][-2:] if state.ndim > 2 else ()
    periodic = tuple(d in example.coords and "period" in example.coords[d].attrs for d in grid)
    condition = example["condition"].shape[1] if "condition" in example else 0
    return SampleShape(tuple(state.shape[1:]), periodic, condition)

"""What models are told of a dataset: the shape of its samples, and the samples as tensors."""

from __future__ import annotations

import torch
import xarray as xr

from plumbline.networks import SampleShape


def sample_shape(example: xr.Dataset) -> SampleShape:
    """Shape, periodicity and condition of the samples of a dataset, from its coordinates."""
    state = example["state"]
    grid = state.dims[1:][-2:] if state.ndim > 2 else ()
    periodic = tuple(d in example.coords and "period" in example.coords[d].attrs for d in grid)
    condition = example["condition"].shape[1] if "condition" in example else 0
    return SampleShape(tuple(state.shape[1:]), periodic, condition)


def batch_of(samples: xr.Dataset) -> dict[str, torch.Tensor]:
    """Samples as the tensors that models take: the numeric variables along `sample`, by name."""
    return {
        str(name): torch.as_tensor(variable.values)
        for name, variable in samples.data_vars.items()
        if variable.dims[:1] == ("sample",) and variable.dtype.kind in "fiub"
    }

"""What models are told of a dataset: the shape of its samples, and the samples as tensors."""

from __future__ import annotations

import torch
import xarray as xr

from plumbline.networks import SampleShape


def sample_shape(example: xr.Dataset) -> SampleShape:
    """Shape, periodicity and condition of the samples of a dataset, from its coordinates.

    Raises:
        ValueError: `condition` is no table (sample, component) of numbers.
    """
    state = example["state"]
    grid = state.dims[1:][-2:] if state.ndim > 2 else ()
    periodic = tuple(d in example.coords and "period" in example.coords[d].attrs for d in grid)
    return SampleShape(tuple(state.shape[1:]), periodic, _condition(example))


def _condition(example: xr.Dataset) -> int:
    """How many numbers a sample is conditioned on."""
    if "condition" not in example:
        return 0
    condition = example["condition"]
    if condition.ndim != 2 or condition.dims[0] != "sample" or condition.dtype.kind not in "iuf":
        remedy = ": give it a second dimension, of size 1" if condition.ndim == 1 else ""
        raise ValueError(
            f"`condition` should be (sample, component), of numbers, and is ({', '.join(map(str, condition.dims))}) of the type "
            f"{condition.dtype}{remedy}."
        )
    return condition.shape[1]


def batch_of(samples: xr.Dataset) -> dict[str, torch.Tensor]:
    """Samples as the tensors that models take: the numeric variables along `sample`, by name."""
    return {
        str(name): torch.as_tensor(variable.values)
        for name, variable in samples.data_vars.items()
        if variable.dims[:1] == ("sample",) and variable.dtype.kind in "fiub"
    }

"""The splits of a dataset as metrics need them; a lazy train split is read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

SCALE = "training_scale"
"""Variable that `with_training_scale` adds to a dataset."""
BLOCK_BYTES = 2**25
"""Size of a block of training samples."""


def values_of(dataset: xr.Dataset, split: str, name: str = "state") -> np.ndarray:
    """The values (samples, ...) of a variable in a split; of a lazy dataset, only these are read."""
    rows = np.flatnonzero(dataset["split"].values == split)
    values: np.ndarray = dataset[name].isel(sample=rows).values
    return values


def training_blocks(dataset: xr.Dataset) -> Iterator[np.ndarray]:
    """The flattened states (samples, n) of the train split in blocks, in float64."""
    rows = np.flatnonzero(dataset["split"].values == "train")
    state = dataset["state"]
    sample_bytes = max(1, int(np.prod(state.shape[1:])) * state.dtype.itemsize)
    size = max(1, BLOCK_BYTES // sample_bytes)
    for start in range(0, len(rows), size):
        values = state.isel(sample=rows[start : start + size]).values
        yield values.reshape(len(values), -1).astype(np.float64)


def training_moments(dataset: xr.Dataset, *, per_column: bool) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and largest absolute value of the training states, of each column (n,) or of all ().

    The standard deviation is that of the population, without Bessel's correction.
    """
    import torch

    from plumbline.models._moments import RunningMoments

    moments = RunningMoments()
    for block in training_blocks(dataset):
        moments.add(torch.from_numpy(block if per_column else block.reshape(-1)))
    return np.sqrt(moments.squares.numpy() / moments.count), moments.size.numpy()


def with_training_scale(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with the scale of its training data, so that metrics need not compute it again."""
    import xarray as xr

    scale = training_scale(dataset)
    return dataset.assign({SCALE: xr.DataArray(scale, dims=("scaled",) if scale.ndim else ())})


def training_scale(dataset: xr.Dataset) -> np.ndarray:
    """As `training_std`, where a constant column is not scaled."""
    if SCALE in dataset:
        known: np.ndarray = dataset[SCALE].values
        return known
    scale = training_std(dataset)
    return np.where(scale > 1e-12 * np.max(scale), scale, 1.0)


def training_std(dataset: xr.Dataset) -> np.ndarray:
    """The standard deviation of the training data, (n,) of the columns of a table or () of fields.

    Fields are scaled by one number, since their entries share a unit. If the fields of a sample have
    different units, each is scaled by its own number, and all are returned, (n,).
    """
    import torch

    from plumbline.models._moments import RunningMoments

    axis = axis_of_units(dataset)
    if axis is None:
        return training_moments(dataset, per_column=dataset["state"].ndim == 2)[0]
    shape = dataset["state"].shape[1:]
    moments = RunningMoments()
    for block in training_blocks(dataset):
        last = np.moveaxis(block.reshape(-1, *shape), axis + 1, -1)
        moments.add(torch.from_numpy(last.reshape(-1, shape[axis])))
    each = np.sqrt(moments.squares.numpy() / moments.count)
    return np.broadcast_to(np.expand_dims(each, [a for a in range(len(shape)) if a != axis]), shape).ravel()


def axis_of_units(dataset: xr.Dataset) -> int | None:
    """The axis of a sample along which units differ; None if all entries share one.

    The coordinate `units` says so: it has one unit for each index along a dimension of fields.
    """
    if dataset["state"].ndim == 2 or "units" not in dataset.coords:
        return None
    units = dataset["units"]
    dims = dataset["state"].dims[1:]
    if units.ndim != 1 or units.dims[0] not in dims or len(set(units.values.tolist())) < 2:
        return None
    return dims.index(units.dims[0])

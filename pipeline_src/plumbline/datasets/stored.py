"""Samples from a store on disk: imported from HDF5, or written by the user's own code with xarray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class StoredSpec(DatasetSpec):
    """The first samples of a zarr store with the variable `state`, as `plumbline import` writes them.

    The seed orders them: sample i of the dataset is the i-th of a permutation of those that are taken.
    """

    kind: Literal["stored"] = "stored"
    path: str
    """The store, relative to the folder that Snakemake runs in."""
    attributes: dict[str, float] = key(default={})
    """Attributes that constraints read and the store lacks, such as `viscosity`."""
    periods: dict[str, float] = key(default={})
    """Periods of the periodic coordinates that the store does not mark, by name."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.store import CorruptStoreError, open_store

        del splits
        stored = open_store(Path(self.path))
        if "state" not in stored or stored["state"].dims[0] != "sample":
            raise CorruptStoreError(f"{self.path} has no variable `state` whose first dimension is `sample`.")
        total = self.splits.total
        if stored.sizes["sample"] < total:
            raise ValueError(
                f"{self.path} holds {stored.sizes['sample']} samples, and `splits` ask for {total}: lower them."
            )
        order = np.random.default_rng(self.seed).permutation(total)[indices]
        drawn = stored.drop_vars(["sample", "split"], errors="ignore").isel(sample=order).load()
        for name, period in self.periods.items():
            drawn[name].attrs["period"] = period
        provenance = ("plumbline_", "version_", "created", "device", "host", "python", "wall_time")
        kept = {name: value for name, value in drawn.attrs.items() if not name.startswith(provenance)}
        drawn.attrs = {**kept, **self.attributes}
        return drawn

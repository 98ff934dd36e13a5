"""Pairs of a time series in a file: CSV with a column a node, or an HDF5 array (time, node), such as regions of a brain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class SeriesFileSpec(DatasetSpec):
    """Pairs of states (node) of a series in a file, some steps apart, in the order of time."""

    kind: Literal["series_file"] = "series_file"
    path: str
    """The file, `.csv` or `.h5` / `.hdf5`, relative to the folder that Snakemake runs in."""
    array: str = key(default="series")
    """Name of the array in an HDF5 file; a CSV file has none."""
    ahead: int = key("steps", ge=1, default=1)
    """Steps from what is known to what is asked for."""
    systems: int = key(ge=1, default=1)
    """Consecutive periods, each an experiment of its own; every split is a multiple of it."""
    units: str = key(default="1")
    """Unit of the values."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets.series import as_pairs, series_pairs

        del splits
        series, names = self._read()
        before, after, system = series_pairs(series, self.ahead, self.systems, self.splits, indices)
        return as_pairs(before, after, system, nodes=names, units=self.units, title=Path(self.path).stem)

    def _read(self) -> tuple[np.ndarray, list[str]]:
        """The series (T, n) and the names of the nodes.

        Raises:
            DataFileError: there is no such file or array, or it is no table of numbers.
        """
        from plumbline.datasets.files import DataFileError

        path = Path(self.path)
        if not path.is_file():
            raise DataFileError(f"`path`: there is no file {path}.")
        if path.suffix.lower() == ".csv":
            import pandas as pd

            table = pd.read_csv(path)
            strange = [str(c) for c in table if not pd.api.types.is_numeric_dtype(table[c])]
            if strange:
                raise DataFileError(
                    f"{path}: expected columns of numbers, found others in {strange}: take them out."
                )
            series, names = table.to_numpy(np.float64), [str(name) for name in table]
        else:
            import h5py

            with h5py.File(path) as file:
                if self.array not in file:
                    raise DataFileError(
                        f"{path}: there is no array {self.array!r}; there are {sorted(file)}."
                    )
                series = np.asarray(file[self.array], np.float64)
            if series.ndim != 2:
                raise DataFileError(
                    f"{path}: {self.array!r} should be (time, node), and has the shape {series.shape}."
                )
            names = [f"node {i}" for i in range(series.shape[1])]
        if not np.isfinite(series).all():
            raise DataFileError(
                f"{path}: {int((~np.isfinite(series)).sum())} values are missing or not finite: fill them in."
            )
        return series, names

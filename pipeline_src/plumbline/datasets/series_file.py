"""Pairs of states of a time series in a file.

The file is a table with one column per node, or an array (time, node). A node is, for example, a brain
region.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.input_files import InputFile, ReadsFiles
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


CLOCKS = ("date", "time", "datetime", "timestamp", "day", "month", "year", "step", "t")
"""Names of columns that hold the time of a row, in lower case."""


class SeriesFileSpec(ReadsFiles, DatasetSpec):
    """Pairs of states (node) of a time series in a file, some steps apart, in chronological order."""

    kind: Literal["series_file"] = "series_file"
    path: str
    """Path of the file, relative to the working directory of Snakemake: a table (`.csv`, `.tsv`, `.parquet`,
    also `.csv.gz`), or an array (`.h5`, `.hdf5`, `.npy`)."""
    columns: tuple[str, ...] = ()
    """Columns of the table to use as nodes, in this order; empty for all columns."""
    array: str = key(default="series")
    """Name of the array in an HDF5 file, such as `run1/series`."""
    order: tuple[Literal["time"], Literal["node"]] | tuple[Literal["node"], Literal["time"]] = (
        "time",
        "node",
    )
    """Dimensions of the array, in the order of the file."""
    ahead: int = key("steps", ge=1, default=1)
    """Steps from the known state to the predicted one."""
    systems: int = key(ge=1, default=1)
    """Number of consecutive periods, each a separate experiment; every split must be a multiple of it."""
    units: str = key(default="1")
    """Unit of the values."""

    def input_files(self) -> tuple[InputFile, ...]:
        return (InputFile("path", self.path, "a series as a CSV or HDF5 file"),)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._series import as_pairs, series_pairs

        series, names = self._read()
        try:
            before, after, system = series_pairs(series, self.ahead, self.systems, self.splits, indices)
        except ValueError as error:
            if len(series) < series.shape[1]:
                raise ValueError(
                    f"{self.path}: {error} It has more nodes than steps: if the axes are the other way "
                    "round, set `dataset.order` to [node, time]."
                ) from error
            raise
        return as_pairs(before, after, system, nodes=names, units=self.units, title=Path(self.path).stem)

    def _read(self) -> tuple[np.ndarray, list[str]]:
        """The series (T, n) and the names of the nodes.

        Raises:
            DataFileError: the file or the array does not exist, or its values are not all finite numbers.
        """
        from plumbline.datasets._download import DataFileError
        from plumbline.storage.tables import is_table

        path = Path(self.path)
        if not path.is_file():
            raise DataFileError(f"`path`: there is no file {path}.")
        if is_table(path):
            return self._table(path)
        if self.columns:
            raise DataFileError(
                f"`columns` applies to tables, but {path} has the suffix {path.suffix or '(none)'}."
            )
        if path.suffix.lower() in (".h5", ".hdf5"):
            series = self._hdf5(path)
        elif path.suffix.lower() == ".npy":
            series = self._npy(path)
        else:
            raise DataFileError(
                f"`path`: {path} has the suffix {path.suffix or '(none)'}, expected .csv, .tsv, .parquet, "
                ".h5, .hdf5 or .npy."
            )
        if series.ndim != 2:
            raise DataFileError(
                f"{path}: {self.array!r} should be ({', '.join(self.order)}), but has shape {series.shape}."
            )
        if series.dtype.kind not in "iuf":
            raise DataFileError(f"{path}: {self.array!r} should hold numbers, but holds {series.dtype}.")
        series = np.asarray(series, np.float64)
        if self.order == ("node", "time"):
            series = series.T
        names = [f"node {i}" for i in range(series.shape[1])]
        if not np.isfinite(series).all():
            raise DataFileError(
                f"{path}: {int((~np.isfinite(series)).sum())} values are missing or not finite: fill in "
                "these values."
            )
        return series, names

    def _table(self, path: Path) -> tuple[np.ndarray, list[str]]:
        from plumbline.datasets._download import DataFileError
        from plumbline.storage.tables import numbers_of, read_table

        table = read_table(path)
        for name in self.columns:
            if name not in table:
                raise DataFileError(
                    f"`columns`: {path} has no column {name!r}; it has {', '.join(map(str, table.columns))}."
                )
        if self.columns:
            table = table[list(self.columns)]
        numbers = numbers_of(
            path, table, "fill it in, or list the columns that are nodes under `dataset.columns`"
        )
        names = [str(name) for name in table.columns]
        for name, values in zip(names, numbers.T, strict=True):
            if not self.columns and name.strip().lower() in CLOCKS and (np.diff(values) > 0).all():
                raise DataFileError(
                    f"{path}: the column {name!r} increases with every row, so it is the time: list the "
                    "columns that are nodes under `dataset.columns`."
                )
        return numbers, names

    def _hdf5(self, path: Path) -> np.ndarray:
        import h5py

        from plumbline.datasets._download import DataFileError

        try:
            with h5py.File(path) as file:
                arrays: list[str] = []
                file.visititems(
                    lambda name, node: arrays.append(name) if isinstance(node, h5py.Dataset) else None
                )
                if self.array not in arrays:
                    raise DataFileError(
                        f"{path}: there is no array {self.array!r}; there are {sorted(arrays)}. Set "
                        "`dataset.array`."
                    )
                return file[self.array][()]
        except OSError as error:
            raise DataFileError(f"{path} cannot be read as an HDF5 file ({error}).") from error

    def _npy(self, path: Path) -> np.ndarray:
        from plumbline.datasets._download import DataFileError

        try:
            return np.load(path)
        except ValueError as error:
            raise DataFileError(f"{path} cannot be read as a NumPy array ({error}).") from error

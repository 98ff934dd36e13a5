"""Pairs of a time series in a file: a table with a column a node, or an array (time, node), such as regions of a brain."""

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
"""Names of columns that tell the time of a row, in lower case."""


class SeriesFileSpec(ReadsFiles, DatasetSpec):
    """Pairs of states (node) of a series in a file, some steps apart, in the order of time."""

    kind: Literal["series_file"] = "series_file"
    path: str
    """The file, relative to the folder that Snakemake runs in: a table (`.csv`, `.tsv`, `.parquet`, also `.csv.gz`), or an
    array (`.h5`, `.hdf5`, `.npy`)."""
    columns: tuple[str, ...] = ()
    """Columns of a table that are nodes, in this order; empty for all."""
    array: str = key(default="series")
    """Name of the array in an HDF5 file, such as `run1/series`."""
    order: tuple[Literal["time"], Literal["node"]] | tuple[Literal["node"], Literal["time"]] = (
        "time",
        "node",
    )
    """Dimensions of the array, in the order of the file."""
    ahead: int = key("steps", ge=1, default=1)
    """Steps from what is known to what is asked for."""
    systems: int = key(ge=1, default=1)
    """Consecutive periods, each an experiment of its own; every split is a multiple of it."""
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
                    f"{self.path}: {error} It has more nodes than steps: if these are the other way round, set "
                    f"`dataset.order` to [node, time]."
                ) from error
            raise
        return as_pairs(before, after, system, nodes=names, units=self.units, title=Path(self.path).stem)

    def _read(self) -> tuple[np.ndarray, list[str]]:
        """The series (T, n) and the names of the nodes.

        Raises:
            DataFileError: there is no such file or array, or it is no table of numbers.
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
                f"`columns` is for tables, and {path} has the suffix {path.suffix or '(none)'}."
            )
        if path.suffix.lower() in (".h5", ".hdf5"):
            series = self._hdf5(path)
        elif path.suffix.lower() == ".npy":
            series = self._npy(path)
        else:
            raise DataFileError(
                f"`path`: {path} has the suffix {path.suffix or '(none)'}, expected .csv, .tsv, .parquet, .h5, .hdf5 "
                f"or .npy."
            )
        if series.ndim != 2:
            raise DataFileError(
                f"{path}: {self.array!r} should be ({', '.join(self.order)}), and has the shape {series.shape}."
            )
        if series.dtype.kind not in "iuf":
            raise DataFileError(f"{path}: {self.array!r} should hold numbers, and holds {series.dtype}.")
        series = np.asarray(series, np.float64)
        if self.order == ("node", "time"):
            series = series.T
        names = [f"node {i}" for i in range(series.shape[1])]
        if not np.isfinite(series).all():
            raise DataFileError(
                f"{path}: {int((~np.isfinite(series)).sum())} values are missing or not finite: fill them in."
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
            path, table, "fill it in, or name the columns that are nodes by `dataset.columns`"
        )
        names = [str(name) for name in table.columns]
        for name, values in zip(names, numbers.T, strict=True):
            if not self.columns and name.strip().lower() in CLOCKS and (np.diff(values) > 0).all():
                raise DataFileError(
                    f"{path}: the column {name!r} rises with every row and tells the time: name the columns that are nodes by "
                    f"`dataset.columns`."
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
                        f"{path}: there is no array {self.array!r}; there are {sorted(arrays)}. Set `dataset.array`."
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

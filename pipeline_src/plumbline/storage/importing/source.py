"""Files of named arrays, read block by block: HDF5, NumPy's `.npz` and `.npy`, and MATLAB's `.mat`."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from plumbline.datasets._download import DataFileError
from plumbline.storage.store import chunk_shape

logger = logging.getLogger("plumbline.storage")

HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".mat")
NUMPY = (".npz", ".npy")


@dataclass
class Source:
    """The arrays of a file, which are read on access.

    Attributes:
        path: path of the file.
        arrays: objects with `shape`, `dtype` and slicing, by name; in groups the name is `group/name`.
        attrs: attributes of the file.
        attrs_of: attributes of each array and group that has any.
        groups: names of the groups.
        matlab: whether MATLAB wrote the file; the axes are then in MATLAB's order.
        names_dimensions: whether the arrays name their dimensions, as in NetCDF 4.
    """

    path: str
    arrays: dict[str, Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    attrs_of: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    matlab: bool = False
    names_dimensions: bool = False

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array."""
        return tuple(self.arrays[name].shape)

    def values(self, name: str) -> np.ndarray:
        """Reads a whole array, such as a coordinate.

        Raises:
            DataFileError: the array does not exist, or cannot be read.
        """
        if name not in self.arrays:
            raise DataFileError(f"{self.path} has no array `{name}`.")
        return np.asarray(self.arrays[name][()])

    def lazy(self, name: str, sample_axis: int | None) -> Any:
        """An array as a dask array in blocks of whole samples, or of parts of very large samples.

        Args:
            name: name of the array.
            sample_axis: axis of the samples; None if there is none.
        """
        import dask.array as da

        array = self.arrays[name]
        if not array.shape:
            return da.from_array(self.values(name))
        first = sample_axis or 0
        shape = (array.shape[first], *array.shape[:first], *array.shape[first + 1 :])
        chunks = list(chunk_shape(shape, max(4, array.dtype.itemsize)))
        chunks.insert(first, chunks.pop(0))
        return da.from_array(
            array, chunks=tuple(chunks), lock=True, meta=np.empty((0,) * len(chunks), array.dtype)
        )

    def described(self) -> str:
        """The names and shapes of the arrays, for messages."""
        shown = [f"{name} {tuple(array.shape)}" for name, array in list(self.arrays.items())[:12]]
        more = len(self.arrays) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "") if shown else "no arrays"


@dataclass
class Named:
    """An array whose read errors name the file and the array, and whose axes are reversed if MATLAB wrote it.

    Attributes:
        array: the wrapped array.
        path: path of the file.
        name: name of the array in the file.
        reverse: whether the axes are reversed.
    """

    array: Any
    path: str
    name: str
    reverse: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, with axes in the order of slices."""
        return tuple(self.array.shape)[:: -1 if self.reverse else 1]

    @property
    def dtype(self) -> np.dtype:
        """The type of the values."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.array.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        if self.reverse and isinstance(key, tuple):
            key = key[::-1]
        try:
            found = np.asarray(self.array[key])
        except (OSError, RuntimeError, ValueError) as error:
            raise DataFileError(
                f"{self.path}: `{self.name}` cannot be read ({str(error).splitlines()[0]}): the file is "
                "damaged or incomplete."
            ) from error
        return found.transpose() if self.reverse else found


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Opens a file of arrays, which can be read until the end of the `with` block.

    Raises:
        DataFileError: the file does not exist, is truncated or damaged, or has another format.
    """
    local = Path(path)
    if local.suffix.lower() in NUMPY:
        yield _numpy(local)
        return
    import h5py

    if local.suffix.lower() == ".mat" and not h5py.is_hdf5(local):
        yield _old_matlab(local)
        return
    try:
        file = h5py.File(local, "r")
    except OSError as error:
        fault = "is truncated" if "truncated" in str(error) else "is not a readable HDF5 file"
        raise DataFileError(f"{path} {fault} ({error}). Copy or download it again.") from error
    with file:
        yield _hdf5(path, file)


def _hdf5(path: str, file: Any) -> Source:
    import h5py

    arrays: dict[str, Any] = {}
    attrs_of: dict[str, dict[str, Any]] = {}
    groups: list[str] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("#"):
            arrays[name] = node
        elif isinstance(node, h5py.Group):
            groups.append(name)
        if node.attrs:
            attrs_of[name] = dict(node.attrs)

    file.visititems(visit)
    matlab = file.userblock_size >= 512 or any("MATLAB_class" in attrs for attrs in attrs_of.values())
    named = {
        name: Named(array, path, name, reverse=matlab)
        for name, array in arrays.items()
        if array.shape is not None
    }
    for name in sorted(set(arrays) - set(named)):
        logger.warning("%s: not imported: %s (it is empty).", path, name)
    scaled = any("DIMENSION_LIST" in attrs for attrs in attrs_of.values())
    return Source(path, named, dict(file.attrs), attrs_of, tuple(groups), matlab, scaled)


def _old_matlab(path: Path) -> Source:
    import scipy.io
    import scipy.sparse

    try:
        found = scipy.io.loadmat(path)
    except Exception as error:
        raise DataFileError(
            f"{path} cannot be read as a MATLAB file ({str(error).splitlines()[0]})."
        ) from error
    arrays = {
        name: Named(value.toarray() if scipy.sparse.issparse(value) else value, str(path), name)
        for name, value in found.items()
        if not name.startswith("__")
    }
    return Source(str(path), arrays, matlab=True)


def _numpy(path: Path) -> Source:
    try:
        if path.suffix.lower() == ".npy":
            return Source(str(path), {path.stem: Named(np.load(path, mmap_mode="r"), str(path), path.stem)})
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            found = {member.filename[:-4]: _member(path, archive, member) for member in members}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataFileError(f"{path} cannot be read as a NumPy file ({error}).") from error
    return Source(str(path), {name: Named(array, str(path), name) for name, array in found.items()})


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array of an `.npz` file, memory-mapped if it is not compressed, else read whole."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(stream)
        begin = stream.tell()
    if dtype.hasobject:
        return np.empty(shape, dtype)
    if member.compress_type != zipfile.ZIP_STORED or not np.prod(shape):
        with archive.open(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    offset = member.header_offset + 30 + name + extra + begin
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")

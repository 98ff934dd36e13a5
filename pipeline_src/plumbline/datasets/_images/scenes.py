"""Reading of the LMDB databases of LSUN, which have one encoded photograph per key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from plumbline.datasets._download import DataFileError

# A database begins with two pages; this is their smallest size.
LEAST_BYTES = 2 * 4096


@contextmanager
def open_scenes(path: Path) -> Iterator[tuple[list[bytes], Callable[[bytes], bytes]]]:
    """Opens a database and yields its keys, in order, and a function that reads the value of a key.

    Args:
        path: the file `data.mdb`, whose folder may be read-only.

    Raises:
        DataFileError: the file is not a database, or is truncated.
    """
    import lmdb

    remedy = "unpack or download the archive again, or set `dataset.data_dir`"
    size = path.stat().st_size
    # LMDB maps the file into memory, and reading a missing page kills the process, so the size is checked
    # first.
    if size < LEAST_BYTES:
        raise DataFileError(f"{path} is not an LMDB database, or is truncated ({size} bytes): {remedy}.")
    try:
        # The folder may be read-only, and a database that is only read needs no lock.
        with lmdb.open(str(path.parent), readonly=True, lock=False, readahead=False) as scenes:
            needed = (scenes.info()["last_pgno"] + 1) * scenes.stat()["psize"]
            if size < needed:
                raise DataFileError(f"{path} is truncated: it has {size} of {needed} bytes: {remedy}.")
            with scenes.begin() as read, read.cursor() as cursor:
                yield list(cursor.iternext(keys=True, values=False)), lambda key: bytes(read.get(key, b""))
    except lmdb.Error as error:
        raise DataFileError(f"{path} is not a readable LMDB database ({error}): {remedy}.") from error

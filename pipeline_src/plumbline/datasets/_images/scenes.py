"""The LMDB databases of LSUN: an encoded photograph a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from plumbline.datasets._download import DataFileError

# The two pages that a database begins with, of the smallest size there is.
LEAST_BYTES = 2 * 4096


@contextmanager
def open_scenes(path: Path) -> Iterator[tuple[list[bytes], Callable[[bytes], bytes]]]:
    """The keys of a database, in order, and a function that reads the value of one.

    Args:
        path: the file `data.mdb`. Its folder may be read-only.

    Raises:
        DataFileError: it is no database, or is cut short.
    """
    import lmdb

    remedy = "unpack or download the archive again, or set `dataset.data_dir`"
    size = path.stat().st_size
    # LMDB maps the file into memory, and pages that are not there end the process: their number is checked first.
    if size < LEAST_BYTES:
        raise DataFileError(f"{path} is no LMDB database, or is cut short ({size} bytes): {remedy}.")
    try:
        # Folders of published data may be read-only, and a database that nobody writes needs no lock.
        with lmdb.open(str(path.parent), readonly=True, lock=False, readahead=False) as scenes:
            needed = (scenes.info()["last_pgno"] + 1) * scenes.stat()["psize"]
            if size < needed:
                raise DataFileError(f"{path} is cut short: it has {size} of {needed} bytes: {remedy}.")
            with scenes.begin() as read, read.cursor() as cursor:
                yield list(cursor.iternext(keys=True, values=False)), lambda key: bytes(read.get(key, b""))
    except lmdb.Error as error:
        raise DataFileError(f"{path} is no readable LMDB database ({error}): {remedy}.") from error

"""The IDX format of the MNIST files: two zero bytes, the type, the number of axes, their sizes, the values."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from plumbline.datasets._download import DataFileError, unzipped

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in an IDX file, gzipped or not.

    Raises:
        DataFileError: the file is not of this format, or is cut short.
    """
    raw = unzipped(path.read_bytes(), path)
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] != UNSIGNED_BYTE:
        raise DataFileError(f"{path} is not an IDX file of unsigned bytes.")
    axes = raw[3]
    if len(raw) < 4 + 4 * axes:
        raise DataFileError(f"{path} is cut short: it ends within the sizes of its {axes} axes.")
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if values.size != math.prod(shape):
        raise DataFileError(
            f"{path} should hold {' x '.join(map(str, shape))} values, and holds {values.size}: take a whole copy."
        )
    return values.reshape(shape)

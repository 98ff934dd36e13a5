"""The IDX format of the MNIST files: two zero bytes, type, number of axes, their sizes, values."""

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
        DataFileError: the file does not have this format, or is truncated.
    """
    raw = unzipped(path.read_bytes(), path)
    if len(raw) < 4 or raw[:2] != b"\x00\x00" or raw[2] != UNSIGNED_BYTE:
        raise DataFileError(f"{path} is not an IDX file of unsigned bytes.")
    axes = raw[3]
    if len(raw) < 4 + 4 * axes:
        raise DataFileError(f"{path} is truncated: it ends within the sizes of its {axes} axes.")
    shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * axes)
    if values.size != math.prod(shape):
        raise DataFileError(
            f"{path} should hold {' x '.join(map(str, shape))} values, but holds {values.size}: copy it "
            "again."
        )
    return values.reshape(shape)

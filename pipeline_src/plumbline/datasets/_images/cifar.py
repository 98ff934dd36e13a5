"""Reading of CIFAR-10 batches, binary or pickled, as records of a label and three colour planes."""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from plumbline.datasets._download import DataFileError

PIXELS = 3 * 32 * 32  # the red, green and blue planes
RECORD = 1 + PIXELS
CLASSES = 10
PICKLED = b"\x80"
# The functions that reconstruct pickled arrays; a pickle may call only these.
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"): ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"): ("numpy", "ndarray"),
    ("numpy", "dtype"): ("numpy", "dtype"),
    ("_codecs", "encode"): ("_codecs", "encode"),
}


def read_batch(path: Path) -> np.ndarray:
    """The records of one file, unsigned bytes (N, 3073): a label and the pixels of three colour planes.

    Raises:
        DataFileError: the file is not a batch of CIFAR-10, or is truncated.
    """
    raw = path.read_bytes()
    records = _of_python(raw, path) if raw[:1] == PICKLED else None
    if records is None:
        if not raw or len(raw) % RECORD:
            raise DataFileError(
                f"{path} is not a complete batch of CIFAR-10: it has {len(raw)} bytes, not a multiple of "
                f"{RECORD}."
            )
        records = np.frombuffer(raw, np.uint8).reshape(-1, RECORD)
    if (strange := np.flatnonzero(records[:, 0] >= CLASSES)).size:
        raise DataFileError(
            f"{path} is not a batch of CIFAR-10: {strange.size} of {len(records)} labels are above "
            f"{CLASSES - 1}, the first in record {strange[0]} ({records[strange[0], 0]}). Is it a file of "
            "CIFAR-100, or damaged?"
        )
    return records


class ForeignPickleError(pickle.UnpicklingError):
    """Raised when a pickle calls functions other than those that reconstruct arrays."""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise ForeignPickleError(f"a batch must not contain {module}.{name}")
        module, name = ARRAYS[module, name]
        return getattr(importlib.import_module(module), name)


def _of_python(raw: bytes, path: Path) -> np.ndarray | None:
    """The records of a pickled batch; None if the file is not a pickle."""
    try:
        batch = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
    except ForeignPickleError as error:
        raise DataFileError(f"{path} is not a batch of CIFAR-10: {error}.") from error
    # A damaged pickle can raise any error.
    except Exception:
        return None
    if not isinstance(batch, dict):
        raise DataFileError(f"{path} is not a batch of CIFAR-10: it holds a {type(batch).__name__}.")
    named = {key.decode() if isinstance(key, bytes) else str(key): value for key, value in batch.items()}
    pixels, labels = np.asarray(named.get("data")), np.asarray(named.get("labels"))
    if pixels.shape != (len(labels) if labels.ndim else -1, PIXELS) or pixels.dtype != np.uint8:
        raise DataFileError(
            f"{path} is not a batch of CIFAR-10: expected `data` of bytes (N, {PIXELS}) and N `labels`, "
            f"found {pixels.dtype} {pixels.shape} and {labels.shape}; it has {', '.join(sorted(named))}."
        )
    return np.concatenate([labels.astype(np.uint8)[:, None], pixels], axis=1)

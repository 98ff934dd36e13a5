"""Tensor files, written by `torch.save` and checked when they are read.

Such a file is a zip archive whose records have checksums (CRC-32). `torch.load` does not verify them and
would return wrong values from a damaged record, so they are verified here.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from plumbline.storage.partial import partial_of
from plumbline.storage.store import replace_durably


def write_tensors(content: Any, path: Path) -> None:
    """Writes tensors to a temporary file, and renames it after it is flushed to disk.

    Args:
        content: tensors in plain containers, as `torch.save` takes them.
        path: path of the file, which is replaced if it exists.
    """
    partial = partial_of(path)
    torch.save(content, partial)
    replace_durably(partial, path)


def read_tensors(path: Path) -> Any:
    """The content of a tensor file, on the CPU.

    Raises:
        Exception: the file is missing, is not a zip archive, has a damaged record, or contains objects other
            than tensors and plain containers. The types of the exceptions are those of `zipfile` and `torch`.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its record {damaged} is not what was written")
    return torch.load(path, map_location="cpu", weights_only=True)

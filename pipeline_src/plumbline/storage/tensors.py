"""Files of tensors, written by `torch.save` and checked as they are read.

Such a file is a zip archive, and its records carry a checksum each (CRC-32), which `torch.load` does not compare: a damaged record
is read as other numbers. It is compared here.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from plumbline.storage.store import partial_of, replace_durably


def write_tensors(content: Any, path: Path) -> None:
    """Writes tensors under a temporary name, and renames the file once it is on the disk."""
    partial = partial_of(path)
    torch.save(content, partial)
    replace_durably(partial, path)


def read_tensors(path: Path) -> Any:
    """The content of a file of tensors, on the CPU.

    Raises:
        Exception: the file is missing, is no such archive, has a record that is not what was written, or holds other objects
            than tensors and plain containers. The types are those of `zipfile` and `torch`.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"its record {damaged} is not what was written")
    return torch.load(path, map_location="cpu", weights_only=True)

"""Temporary names under which files and stores are written before they are renamed.

A reader therefore never finds an incomplete file. Each process has temporary names of its own.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def writer() -> str:
    """The name of this process among all that may write to a shared disk: host name and process number."""
    return f"{socket.gethostname()}.{os.getpid()}"


def partial_of(path: Path) -> Path:
    """The temporary path to which this process writes before renaming to `path`."""
    return path.with_name(f".{path.name}.{writer()}.partial")


def replace_text(path: Path, text: str) -> None:
    """Writes a text file under a temporary name and renames it, and creates its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)

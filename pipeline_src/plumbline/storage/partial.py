"""Temporary names under which files and stores are written before they are renamed.

A reader therefore never finds an incomplete file. Each process has temporary names of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

ABANDONED = 24 * 3600.0
"""Seconds after which an incomplete store or file of another machine is considered abandoned."""


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


def is_alive(name: str, touched: float) -> bool:
    """Whether a writer may still be running.

    On this machine, the process must exist. On other machines, it must have written within the last
    `ABANDONED` seconds.

    Args:
        name: name of the writer, as returned by `writer`.
        touched: time of its last write, as from `time.time()`.
    """
    here = runs_here(name)
    return time.time() - touched < ABANDONED if here is None else here


def runs_here(name: str) -> bool | None:
    """Whether a writer runs on this machine; None if it belongs to another one."""
    host, _, process = name.rpartition(".")
    if host != socket.gethostname() or not process.isdigit():
        return None
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_left_overs(path: Path) -> None:
    """Removes incomplete copies of a store or file that dead writers left, but not those of running ones."""
    for left_over in path.parent.glob(f".{path.name}.*"):
        name = left_over.name.removeprefix(f".{path.name}.").rpartition(".")[0]
        try:
            touched = max(p.stat().st_mtime for p in (left_over, *left_over.rglob("*")))
        except FileNotFoundError:
            continue  # its writer has renamed it in the meantime
        if is_alive(name, touched):
            continue
        if left_over.is_dir():
            shutil.rmtree(left_over, ignore_errors=True)
        else:
            left_over.unlink(missing_ok=True)

"""At most one running writer per folder, enforced by a lock file that its holder touches regularly.

A job may keep running after Snakemake was killed, and a new Snakemake may start it again. The second process
waits until the first has ended or died, and continues from the files that the first has left.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plumbline.storage.store import is_alive, writer

logger = logging.getLogger("plumbline")

NAME = ".writer"
"""Name of the lock file in the locked folder."""
BEAT = 15.0
"""Seconds between two touches of the lock file."""
STALE = 600.0
"""Seconds without a touch after which the holder is considered dead, on any machine."""
LOOK = 1.0
"""Seconds between two attempts to take a lock that another process holds."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder in the `with` block, after waiting for a running process that holds it.

    Args:
        folder: the folder to lock, which is created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    last = -STALE
    while not _taken(path):
        if time.monotonic() - last > 60:
            last = time.monotonic()
            logger.info("%s: waiting for the process %s, which is writing here.", folder, _holder(path))
        time.sleep(LOOK)
    ended = threading.Event()
    threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if _holder(path) == writer():
            path.unlink(missing_ok=True)


def _taken(path: Path) -> bool:
    """Tries to take the lock, also from a dead process; returns whether this process holds it now."""
    try:
        with open(path, "x") as file:
            file.write(writer())
        return True
    except FileExistsError:
        pass
    try:
        holder, touched = path.read_text(), path.stat().st_mtime
    except FileNotFoundError:
        return False  # just released: the next attempt takes it
    # A lock under our own name was left by a dead process with the same process number, as happens in
    # containers.
    if holder != writer() and is_alive(holder, touched) and time.time() - touched < STALE:
        return False
    # If several processes find the lock stale, only one of them succeeds in moving it.
    stale = path.with_name(f"{NAME}.{writer()}.stale")
    try:
        path.rename(stale)
    except FileNotFoundError:
        return False
    if stale.read_text() != holder:
        stale.rename(path)  # another process has taken it in the meantime
        return False
    stale.unlink()
    return _taken(path)


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        if _holder(path) == writer():
            os.utime(path)

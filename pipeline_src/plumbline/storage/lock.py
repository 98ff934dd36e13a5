"""One live writer a folder: a lock file that its holder touches as long as it lives.

A job may live on after the Snakemake that started it was killed, and be started again by the next one. The second waits until
the first has ended or died, and goes on with what it left.
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
"""The lock file, in the folder that it is for."""
BEAT = 15.0
"""Seconds between touches."""
STALE = 600.0
"""Seconds without a touch after which the holder is taken for dead, wherever it ran."""
LOOK = 1.0
"""Seconds between two looks at a lock that another process holds."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, after waiting for the live process that holds it, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    last = -STALE
    while not _taken(path):
        if time.monotonic() - last > 60:
            last = time.monotonic()
            logger.info("%s: the process %s is at work here: waiting for it.", folder, _holder(path))
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
    """Whether the lock is ours now; one that a dead process left is taken over."""
    try:
        with open(path, "x") as file:
            file.write(writer())
        return True
    except FileExistsError:
        pass
    try:
        holder, touched = path.read_text(), path.stat().st_mtime
    except FileNotFoundError:
        return False  # just given back: the next look takes it
    # A lock in our own name was left by a dead process that had our number, as in containers, which count from one.
    if holder != writer() and is_alive(holder, touched) and time.time() - touched < STALE:
        return False
    # Of several processes that find it stale, one succeeds in moving it away.
    stale = path.with_name(f"{NAME}.{writer()}.stale")
    try:
        path.rename(stale)
    except FileNotFoundError:
        return False
    if stale.read_text() != holder:
        stale.rename(path)  # another process had taken it over in between
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

"""At most one running writer per folder or store, enforced by a lock file that its holder touches regularly.

A job may keep running after Snakemake was killed, and a new Snakemake may start it again; a cluster may start
a job again on another machine after it has lost the first one. The second process waits until the first has
ended or died, and continues from the files that the first has left.

A process of this machine is known to be dead at once. One of another machine is considered dead when its lock
has not been touched for `STALE` seconds, by the clock of the file system alone. A process that was suspended
for longer and finds, when it goes on, that another one has taken its lock, stops at once.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plumbline.storage.partial import runs_here, writer

logger = logging.getLogger("plumbline")

NAME = ".writer"
"""Name of the lock file in a locked folder, and the end of its name beside a locked store."""
BEAT = 10.0
"""Seconds between two touches of the lock file."""
STALE = 120.0
"""Seconds without a touch after which a holder on another machine is considered dead."""
LOOK = 1.0
"""Seconds between two attempts to take a lock that another process holds."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder in the `with` block, after waiting for a running process that holds it.

    Args:
        folder: the folder to lock, which is created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / NAME):
        yield


@contextmanager
def only_writer_of_store(store: Path) -> Iterator[None]:
    """Holds the lock of one store in the `with` block; other stores in its folder are not locked.

    Args:
        store: the path of the store, whose parent folder is created if it does not exist.
    """
    store.parent.mkdir(parents=True, exist_ok=True)
    with _held(store.with_name(f".{store.name}{NAME}")):
        yield


@contextmanager
def _held(path: Path) -> Iterator[None]:
    last = -float("inf")
    while not _taken(path):
        if time.monotonic() - last > 60:
            last = time.monotonic()
            logger.info("%s: waiting for the process %s, which is writing here.", path.parent, _holder(path))
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
        holder = path.read_text()
        # A lock under our own name was left by a dead process with the same process number, as happens in
        # containers.
        if holder != writer() and runs_here(holder) is not False and _age(path) < STALE:
            return False
    except FileNotFoundError:
        return False  # just released: the next attempt takes it
    # If several processes find the lock stale, only one of them succeeds in moving it.
    stale = path.with_name(f"{path.name}.{writer()}.stale")
    try:
        path.rename(stale)
    except FileNotFoundError:
        return False
    if stale.read_text() != holder:
        stale.rename(path)  # another process has taken it in the meantime
        return False
    stale.unlink()
    return _taken(path)


def _age(path: Path) -> float:
    """Seconds since the last touch, by the clock of the file system."""
    probe = path.with_name(f"{path.name}.{writer()}.probe")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _beat(path: Path, ended: threading.Event) -> None:
    """Touches the lock until the `with` block ends, and kills this process if another one has the lock."""
    while not ended.wait(BEAT):
        holder = _holder(path)
        if holder == writer():
            os.utime(path)
        elif holder and not ended.is_set():
            logger.error(
                "%s: this process was suspended or could not reach the disk for over %d s, and %s writes "
                "here now. This process stops.",
                path.parent, STALE, holder,
            )  # fmt: skip
            os.kill(os.getpid(), signal.SIGKILL)

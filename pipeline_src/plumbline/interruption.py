"""Ends of a job that are announced by SIGTERM: a cluster cancels, preempts or times out a job so.

A cluster sends SIGTERM some seconds before it kills what is left. A stage that receives it leaves its `with`
and `finally` blocks, so that its lock is free at once, also for a process on another machine. A training
first completes its step and saves its state.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("plumbline")

STATUS = 128 + signal.SIGTERM
"""The exit status of an interrupted job, as a shell reports it."""


class Interruption:
    """Whether SIGTERM has arrived while it was deferred."""

    requested = False


_deferring: list[Interruption] = []


def exit_on_request() -> None:
    """Makes SIGTERM raise `SystemExit` in this process from now on; only a main thread receives signals."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _received)


@contextmanager
def deferred() -> Iterator[Interruption]:
    """Notes SIGTERM within the `with` block instead of raising; the block asks for it and calls `leave`."""
    own = Interruption()
    _deferring.append(own)
    try:
        yield own
    finally:
        _deferring.remove(own)


def leave(message: str) -> None:
    """Ends the process as interrupted, after a line in the log.

    Raises:
        SystemExit: always.
    """
    logger.warning("%s", message)
    sys.exit(STATUS)


def _received(number: int, frame: FrameType | None) -> None:
    if _deferring:
        _deferring[-1].requested = True
    else:
        leave("SIGTERM: this job was cancelled, preempted or ran out of time. It stops.")

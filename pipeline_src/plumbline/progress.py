"""Progress messages of long computations, at most one every few seconds."""

from __future__ import annotations

import logging
import time


class Progress:
    """Logs a progress message if enough time has passed since the last one.

    Args:
        logger: the logger that receives the messages.
        every: minimum number of seconds between two messages.
    """

    def __init__(self, logger: logging.Logger, every: float = 5.0) -> None:
        self.logger = logger
        self.every = every
        self.last = time.monotonic()

    def report(self, message: str) -> None:
        """Logs the message if at least `every` seconds have passed since the last one."""
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self.logger.info(message)

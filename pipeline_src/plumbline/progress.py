"""A line in the log every few seconds, for work that takes longer."""

from __future__ import annotations

import logging
import time


class Progress:
    """Logs a message when some seconds have passed since the last one.

    Args:
        logger: where to.
        every: seconds between lines.
    """

    def __init__(self, logger: logging.Logger, every: float = 5.0) -> None:
        self.logger = logger
        self.every = every
        self.last = time.monotonic()

    def report(self, message: str) -> None:
        """Logs the message if it is time."""
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self.logger.info(message)

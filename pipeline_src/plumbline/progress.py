"""Progress of long computations: how much is done and how long the rest will take.

On a terminal, a bar is redrawn in place. Logs and jobs of the workflow get a line every few seconds.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta

BAR = 24
"""Width of the bar on a terminal, in characters."""


class Progress:
    """Reports progress if enough time has passed since the last report.

    Args:
        logger: the logger that receives the lines.
        every: minimum number of seconds between two lines; a bar on a terminal is redrawn each second.
    """

    def __init__(self, logger: logging.Logger, every: float = 5.0) -> None:
        self.logger = logger
        # Jobs of the workflow share a terminal, and each has a log file: they write lines.
        in_job = any(isinstance(h, logging.FileHandler) for h in logging.getLogger("plumbline").handlers)
        self.on_terminal = sys.stderr.isatty() and not in_job
        self.every = min(1.0, every) if self.on_terminal else every
        self.started = self.last = time.monotonic()
        self.first = 0
        self.before: int | None = None

    def report(self, message: str) -> None:
        """Logs a message that has no count, if at least `every` seconds have passed since the last report."""
        if self._is_due():
            self.logger.info(message)

    def count(self, done: int, total: int, what: str, detail: str = "") -> None:
        """Reports a count, if it is due: `step 1,230 of 5,000 (25%), 0:01:12 left: loss 0.2`.

        Args:
            done: how many are done.
            total: how many there are.
            what: what is counted, in the singular.
            detail: anything else, appended after a colon.
        """
        if (
            self.before is None or done < self.before
        ):  # the first report of a count, which may be a resumed one
            self.started, self.first = time.monotonic(), done
        self.before = done
        if self._is_due():
            text = self._text(done, total, what, detail)
            if self.on_terminal:
                draw_bar(done, total, text)
            else:
                self.logger.info(text)

    def _text(self, done: int, total: int, what: str, detail: str) -> str:
        spent = time.monotonic() - self.started
        made = done - self.first
        left = f", {timedelta(seconds=round(spent * (total - done) / made))} left" if made > 0 else ""
        percent = 100 * done // max(total, 1)
        return f"{what} {done:,} of {total:,} ({percent}%){left}{f': {detail}' if detail else ''}"

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self.last < self.every:
            return False
        self.last = now
        return True


def draw_bar(done: int, total: int, text: str) -> None:
    """Draws a bar and a text on standard error, over the former one; the last one ends the line."""
    filled = BAR * done // max(total, 1)
    sys.stderr.write(f"\r\033[K[{'#' * filled}{'.' * (BAR - filled)}] {text}")
    sys.stderr.write("\n" if done >= total else "")
    sys.stderr.flush()

"""The training log: a CSV file that is rewritten after every interval and continued by a resumed training."""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from plumbline.plan import LOG
from plumbline.storage.partial import partial_of


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the progress lines of a training."""
    logger = logging.getLogger("plumbline.training")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a log, by column; empty cells are left out."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


class Interval(TypedDict):
    """An interval that has not ended: the sum () of each term, and the number of steps."""

    sums: dict[str, Tensor]
    count: int


class TrainingLog:
    """training_log.csv: a row per interval, with the mean of every term, learning rate, speed and wall time.

    The wall time counts the training alone: the time while the log is `paused` is excluded.

    Args:
        folder: the folder of the log file.
        rows: the rows of the training that is resumed. They are taken from its saved state, since Snakemake
            deletes the log file of a killed job.
        interval: the interval in which the state was saved; None at the start of one.
        enabled: whether this process writes the log.
        tensorboard: whether to write TensorBoard events too.
        spent: seconds of preparation before the first step, included in the wall time.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[dict[str, float]],
        interval: Interval | None = None,
        *,
        enabled: bool,
        tensorboard: bool,
        spent: float = 0.0,
    ) -> None:
        self.enabled = enabled
        self.path = folder / LOG
        self.rows = list(rows)
        self.sums: dict[str, Tensor] = dict(interval["sums"]) if interval else {}
        self.count = interval["count"] if interval else 0
        self.last = time.perf_counter()
        self.events = None
        if enabled and tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.events = SummaryWriter(folder / "tensorboard")
        self.elapsed = self.rows[-1]["wall_time_seconds"] if self.rows else spent

    def add(self, step: int, terms: dict[str, Tensor], learning_rate: float) -> None:
        """Adds the terms of a step to the interval."""
        for name, value in terms.items():
            value = torch.as_tensor(value).detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1
        self.step, self.learning_rate = step, learning_rate

    def interval(self) -> Interval:
        """The interval that has not ended, to be saved."""
        return {"sums": dict(self.sums), "count": self.count}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the clock during validations and while files are written."""
        started = time.perf_counter()
        yield
        self.last += time.perf_counter() - started

    def flush(self, validation: Mapping[str, float]) -> None:
        """Ends the interval: appends a row, and replaces the file atomically.

        Args:
            validation: the results of a validation at this step, by term; empty if there was none.
        """
        if not self.count or not self.enabled:
            return
        row = {"step": float(self.step), **{name: float(s) / self.count for name, s in self.sums.items()}}
        # Converting the sums to floats has waited for the GPU: the time is read after that.
        now = time.perf_counter()
        self.elapsed += now - self.last
        row["learning_rate"] = self.learning_rate
        row["steps_per_second"] = self.count / max(now - self.last, 1e-9)
        row["wall_time_seconds"] = self.elapsed
        row |= {f"validation_{name}": value for name, value in validation.items()}
        self.rows.append(row)
        self.last, self.sums, self.count = now, {}, 0
        if self.events is not None:
            for name, value in row.items():
                self.events.add_scalar(name, value, int(row["step"]))
        self._write()

    def _write(self) -> None:
        partial = partial_of(self.path)
        with partial.open("w", newline="") as file:
            # Rows without a validation, usually the first ones, lack its columns.
            writer = csv.DictWriter(
                file, fieldnames=list(dict.fromkeys(name for row in self.rows for name in row))
            )
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(partial, self.path)

    def summary(self) -> str:
        """The loss and speed of the last row, as text."""
        if not self.rows:
            return "no interval is complete yet"
        row = self.rows[-1]
        return f"loss {row['loss']:.4g}, {row['steps_per_second']:.3g} steps per second"

    def close(self) -> None:
        """Ends the last interval; the log of a training without steps contains only its header."""
        self.flush({})
        if self.enabled and self.rows and not self.path.exists():
            self._write()  # the training was complete already, and Snakemake has deleted its log
        if self.enabled and not self.rows:
            self.path.write_text("step,loss,learning_rate,steps_per_second,wall_time_seconds\n")
        if self.events is not None:
            self.events.close()

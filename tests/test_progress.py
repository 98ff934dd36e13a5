"""Progress says how much is done and how long the rest will take, in lines or as a bar."""

import logging

import pytest

from plumbline import progress
from plumbline.progress import Progress

LOGGER = logging.getLogger("plumbline.test_progress")


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_have_count_percent_time_left_and_detail(clock, caplog):
    counted = Progress(LOGGER)
    with caplog.at_level(logging.INFO):
        for seconds, done in ((1, 1000), (4, 1100), (7, 1230), (9, 1300), (21, 1800)):
            clock[0] = seconds
            counted.count(done, 5000, "step", "loss 0.2")
    # The first count is at 1 s; 230 steps have taken 6 s by 7 s, and 800 have taken 20 s by 21 s.
    assert caplog.messages == [
        "step 1,230 of 5,000 (24%), 0:01:38 left: loss 0.2",
        "step 1,800 of 5,000 (36%), 0:01:20 left: loss 0.2",
    ]


def test_a_new_count_starts_its_own_time(clock, caplog):
    counted = Progress(LOGGER)
    with caplog.at_level(logging.INFO):
        for seconds, done in ((0, 0), (100, 10), (200, 0), (210, 5)):
            clock[0] = seconds
            counted.count(done, 10, "sample")
    assert caplog.messages[-1] == "sample 5 of 10 (50%), 0:00:10 left"
    assert caplog.messages[-2] == "sample 0 of 10 (0%)"


def test_a_terminal_has_a_bar(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(logging.getLogger("plumbline"), "handlers", [])
    counted = Progress(LOGGER)
    for done in (0, 5, 10):
        clock[0] += 2
        counted.count(done, 10, "step")
    said = capsys.readouterr().err
    assert f"[{'#' * 12}{'.' * 12}] step 5 of 10 (50%), 0:00:02 left" in said
    assert said.endswith(f"[{'#' * 24}] step 10 of 10 (100%), 0:00:00 left\n")


def test_jobs_write_lines_on_a_terminal_too(monkeypatch, tmp_path):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    handler = logging.FileHandler(tmp_path / "job.log")
    monkeypatch.setattr(logging.getLogger("plumbline"), "handlers", [handler])
    assert not Progress(LOGGER).on_terminal
    handler.close()

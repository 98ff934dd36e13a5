"""CPU seconds of the tests, by file and by test, and those of all processes that they start.

    python benchmarks/suite.py                       # all but those on a SLURM, in one process
    python benchmarks/suite.py tests/workflow -k rerun

Unlike the durations of `make test`, CPU times change little with other work on the same machine. A process
whose parent has ended, such as a fork server, becomes a child of this one (Linux), so that it counts too.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PR_SET_CHILD_SUBREAPER = 36
FILES, TESTS = 20, 25
"""Largest numbers of rows of the two tables."""
SHOWN_FROM = 1.0
"""CPU seconds from which a row is shown."""


class Times:
    """A plugin of pytest. The time of a test contains that of the fixtures that it sets up."""

    def __init__(self) -> None:
        self.tests: dict[str, float] = {}
        self.known: set[int] = set()
        execute = subprocess.Popen._execute_child

        def noted(process: subprocess.Popen[str], *arguments: object, **options: object) -> None:
            execute(process, *arguments, **options)
            self.known.add(process.pid)

        subprocess.Popen._execute_child = noted

    def now(self) -> float:
        """CPU seconds of this process and of all that have ended below it."""
        for file in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = file.read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            pid = int(file.parent.name)
            if state == "Z" and int(parent) == os.getpid() and pid not in self.known:
                os.waitpid(pid, 0)
        used = os.times()
        return used.user + used.system + used.children_user + used.children_system

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before = self.now()
        result = yield
        self.tests[item.nodeid] = self.now() - before
        return result

    def print(self) -> None:
        files: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            files[test.split("::")[0]] += seconds
        total = sum(self.tests.values())
        for what, rows in (
            ("file", files.most_common(FILES)),
            ("test", Counter(self.tests).most_common(TESTS)),
        ):
            print(f"\n| {what} | CPU s |\n|---|---:|")
            for name, seconds in rows:
                if seconds >= SHOWN_FROM:
                    print(f"| `{name}` | {seconds:.1f} |")
            print(f"| all {len(self.tests)} tests in {len(files)} files | {total:.0f} |")


if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    times = Times()
    status = pytest.main(["-q", "-m", "not cluster", *sys.argv[1:]], plugins=[times])
    times.print()
    sys.exit(status)

"""Measures the CPU time of a Python process, for `overhead.py`, which puts this folder on PYTHONPATH.

Python imports this module at its start. At the end of the process it writes a file with the CPU seconds of
the process and of its children, and those of its stage without imports. A forked process counts its own.
"""

import atexit
import json
import os
import resource
import sys
import time
from importlib import _bootstrap

FOLDER = os.environ.get("PLUMBLINE_OVERHEAD")
STAGES = {
    f"plumbline.stages.{name}": name
    for name in ["generate", "rehearse", "train", "sample", "evaluate", "compare"]
}
STAGES["plumbline.reporting.page"] = "write_page"


def cpu_seconds() -> float:
    """CPU seconds of this process and of the children that it waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Measurement:
    """The work of this process: the stage, and the imports within it."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.stages = 0.0
        self.imports: dict[str, float] = {}
        self.depth = self.importing = 0

    def stage(self, function):
        def measured(*arguments, **named):
            self.depth += 1
            begun = cpu_seconds()
            try:
                return function(*arguments, **named)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.stages += cpu_seconds() - begun

        return measured

    def imported(self, find_and_load):
        def measured(name, import_):
            self.importing += 1
            begun = time.process_time()
            try:
                module = find_and_load(name, import_)
            finally:
                self.importing -= 1
                if self.depth and not self.importing:
                    self.imports[name] = self.imports.get(name, 0.0) + time.process_time() - begun
            if name in STAGES and not hasattr(module, "_measured"):
                module._measured = True
                setattr(module, STAGES[name], self.stage(getattr(module, STAGES[name])))
            return module

        return measured

    def write(self) -> None:
        process = {
            "arguments": [argument[:80] for argument in sys.argv[:4]],
            "executable": sys.orig_argv[:4],
            "cpu": cpu_seconds(),
            "own": time.process_time(),
            "work": self.stages - sum(self.imports.values()),
            "imports": self.imports,
        }
        name = os.path.join(FOLDER, f"{os.getpid()}-{time.monotonic_ns()}.json")
        with open(name, "w") as file:
            json.dump(process, file)


if FOLDER:
    measurement = Measurement()
    _bootstrap._find_and_load = measurement.imported(_bootstrap._find_and_load)
    os.register_at_fork(after_in_child=measurement.begin)
    atexit.register(measurement.write)

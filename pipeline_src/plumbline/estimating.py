"""Estimates of studies: those remembered, and new ones that another process computes.

That process imports torch and takes some seconds a study. Commands that print estimates wait for it. A run of
Snakemake starts it with its first job and goes on; see `RunRequests`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from plumbline.estimates import StudyEstimate, remember, remembered
from plumbline.machine import ResourcesSpec
from plumbline.plan import Plan
from plumbline.resources import Request, Requests
from plumbline.spec import digest
from plumbline.study import Study
from plumbline.study_file import Scale

LIBRARY = Path(__file__).parents[1]
LONGEST = 900
"""Seconds after which the estimates of all studies are given up."""


class Estimation:
    """A process that estimates studies. It writes each estimate as soon as it is complete.

    Args:
        studies: the studies, with the fingerprints of their files.
        folder: the folder of the remembered estimates.
    """

    def __init__(self, studies: Sequence[Study], folder: Path) -> None:
        texts = [study.canonical() for study in studies]
        self.files = [folder / f"{digest(text)}.json" for text in texts]
        self.end = time.monotonic() + LONGEST
        path = os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
            lines.write("\n".join(texts))
            lines.seek(0)
            # In a session of its own, it is not interrupted with this process, but ends with it.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "plumbline.estimation", str(folder), str(os.getpid())],
                stdin=lines,
                env=environment,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether the process runs. It is killed after `LONGEST` seconds."""
        if self.process.poll() is None and time.monotonic() > self.end:
            self._kill()
        if self.process.returncode is None:
            return True
        self._complete()
        return False

    def wait(self) -> None:
        """Waits for all estimates, at most `LONGEST` seconds."""
        try:
            self.process.wait(max(0.0, self.end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._kill()
        except BaseException:
            self._kill()
            raise
        self._complete()

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _complete(self) -> None:
        """Notes which estimates are missing, so that later runs do not try again."""
        for file in self.files:
            if remembered(file) is None:
                remember(StudyEstimate(problem="the estimate ended without a result."), file)


def remembered_estimates(studies: Sequence[Study], folder: Path) -> dict[str, StudyEstimate]:
    """The remembered estimates of studies, by name."""
    found = {study.name: remembered(folder / f"{digest(study.canonical())}.json") for study in studies}
    return {name: one for name, one in found.items() if one is not None}


def estimates_of(
    studies: Sequence[Study], folder: Path, logger: logging.Logger, *, again: bool = False
) -> dict[str, StudyEstimate]:
    """The estimates of studies by name. Waits for those that are not remembered; without torch, omits them.

    Args:
        studies: the studies, with the fingerprints of their files.
        folder: the folder of the remembered estimates.
        logger: says that estimates are computed, and which are missing.
        again: whether to compute those anew that had a problem, such as missing data.
    """
    found = remembered_estimates(studies, folder)
    missing = [study for study in studies if study.name not in found or (again and found[study.name].problem)]
    if missing and find_spec("torch") is not None:
        log_start(missing, logger)
        Estimation(missing, folder).wait()
        found = remembered_estimates(studies, folder)
    log_problems(found, logger)
    return found


def log_start(studies: Sequence[Study], logger: logging.Logger) -> None:
    """Logs that studies are estimated."""
    names = ", ".join(study.name for study in studies)
    logger.info(f"Estimating time and memory of {names}, once for each version of a study.")


def log_problems(estimates: dict[str, StudyEstimate], logger: logging.Logger) -> None:
    """Logs which studies could not be estimated."""
    for name, one in estimates.items():
        if one.problem:
            logger.info(f"{name}: no estimate, so its jobs ask for fixed amounts: {one.problem}")


class RunRequests:
    """What the jobs of a run ask for. It follows from new estimates as soon as these are known.

    Args:
        plans: the plans of the run's studies.
        settings: the settings of resources.
        scale: the scale of the studies. At scale `smoke` all jobs are small, and nothing is estimated.
        folder: the folder of the remembered estimates.
        logger: says that estimates are computed, and which are missing.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        settings: ResourcesSpec,
        scale: Scale,
        folder: Path,
        logger: logging.Logger,
    ) -> None:
        self.plans, self.settings, self.scale = plans, settings, scale
        self.folder, self.logger = folder, logger
        self.studies = [plan.study for plan in plans] if settings.estimate else []
        found = remembered_estimates(self.studies, folder)
        log_problems(found, logger)
        possible = scale != "smoke" and find_spec("torch") is not None
        self.missing = [study for study in self.studies if possible and study.name not in found]
        self.estimation: Estimation | None = None
        self.requests = Requests(plans, found, settings, scale)

    def of(self, stage: str, of: str = "") -> Request:
        """The request of a job: by the estimate if it is known, or else a fixed amount."""
        return self.requests.of(stage, of)

    def refreshed(self, *, wait: bool) -> bool:
        """Estimates the studies that have no estimate, and says whether requests are new.

        The first call starts another process. Until it has ended, later calls change nothing.

        Args:
            wait: whether to wait for the end of the process.
        """
        if not self.missing:
            return False
        if self.estimation is None:
            log_start(self.missing, self.logger)
            self.estimation = Estimation(self.missing, self.folder)
        if wait:
            self.estimation.wait()
        elif self.estimation.running():
            return False
        found = remembered_estimates(self.studies, self.folder)
        log_problems({study.name: found[study.name] for study in self.missing}, self.logger)
        self.missing = []
        self.requests = Requests(self.plans, found, self.settings, self.scale)
        return True

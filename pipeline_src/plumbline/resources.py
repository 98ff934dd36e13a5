"""What the rules ask for: memory, time, GPUs and priorities of all jobs, from the estimates of their studies.

Jobs on the longest path to the report come first. The length of a path is the sum of the estimated seconds of
its jobs, one part or seed of each, since the others run beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import NamedTuple

from plumbline.estimates import JobEstimate, StudyEstimate
from plumbline.machine import ResourcesSpec
from plumbline.plan import Plan
from plumbline.study import REAL, Study
from plumbline.study_file import Scale

LEAST_MINUTES = 10
"""Least time that a job asks for, since machines of a cluster differ and file systems are slow at times."""


class Fixed(NamedTuple):
    """What the jobs of a stage ask for without an estimate.

    Attributes:
        memory: memory (MB).
        minutes: time (min).
        seconds: time that their priorities assume (s).
    """

    memory: int
    minutes: int
    seconds: float


FIXED = {
    "generate": Fixed(4000, 60, 10.0),
    "rehearse": Fixed(8000, 60, 20.0),
    "train": Fixed(8000, 24 * 60, 10.0),
    "tune": Fixed(8000, 8 * 60, 20.0),
    "sample": Fixed(8000, 8 * 60, 10.0),
    "evaluate": Fixed(8000, 120, 5.0),
    "compare": Fixed(4000, 30, 5.0),
    "report": Fixed(4000, 30, 5.0),
}
FIXED_SECONDS_PER_STEP = 0.02


class Job(NamedTuple):
    """A kind of job: all parts and seeds of it are alike.

    Attributes:
        stage: the rule.
        of: what it is for: a dataset's or a trained model's name, a study, or a study and a method.
    """

    stage: str
    of: str = ""


@dataclass(frozen=True)
class Request:
    """What a job takes, and what it asks for.

    Attributes:
        seconds: estimated time (s), with its start.
        memory: estimated memory (MB).
        gpus: number of GPUs that it asks for.
        margin: memory and time asked for over those estimated.
        fixed: what it asks for in place of the estimate, if there is none.
        path: seconds from its start to the end of the report, along the longest path.
    """

    seconds: float
    memory: float
    gpus: int
    margin: float
    fixed: Fixed | None = None
    path: float = 0.0

    def mem_mb(self, attempt: int = 1) -> int:
        """Memory to ask for (MB); a repeated job asks for as much again."""
        once = self.fixed.memory if self.fixed else 100 * math.ceil(self.margin * self.memory / 100)
        return attempt * once

    def runtime(self, attempt: int = 1) -> int:
        """Time to ask for (min); a repeated job asks for as much again."""
        once = self.fixed.minutes if self.fixed else math.ceil(self.margin * self.seconds / 60)
        return attempt * max(LEAST_MINUTES, once)

    @property
    def priority(self) -> int:
        """Snakemake's priority: the length of the longest path to the report (s), rounded up."""
        return math.ceil(self.path)


class Requests:
    """The requests of all jobs of several studies.

    Args:
        plans: the plans of the studies.
        estimates: the estimates by the names of the studies; a missing one is replaced by fixed amounts.
        spec: the settings.
        scale: the scale of the studies. At `paper`, models train on GPUs unless they say otherwise.
    """

    def __init__(
        self,
        plans: Iterable[Plan],
        estimates: Mapping[str, StudyEstimate],
        spec: ResourcesSpec,
        scale: Scale,
    ) -> None:
        self.spec, self.scale = spec, scale
        self.requests: dict[Job, Request] = {}
        for plan in plans:
            self._add(plan, estimates.get(plan.study.name, StudyEstimate()))

    def of(self, stage: str, of: str = "") -> Request:
        """The request of a job."""
        return self.requests[Job(stage, of)]

    def gpus(self, plan: Plan, model: str) -> int:
        """The number of GPUs that the training of a model asks for.

        With `accelerator: auto`, only scale `paper` uses GPUs.
        """
        training = plan.study.models[model].training
        on_gpu = training.accelerator == "gpu" or (training.accelerator == "auto" and self.scale == "paper")
        return training.devices * training.nodes if on_gpu and training.steps else 0

    def gpus_to_sample(self, plan: Plan, judged: str) -> int:
        """One GPU for a method whose model trains on one."""
        models = plan.at_step(judged)[0].models()
        return min(1, self.gpus(plan, models[0])) if models else 0

    def gpus_to_evaluate(self, plan: Plan) -> int:
        """One GPU if a model that constraints or metrics use trains on one."""
        return min(1, max((self.gpus(plan, model) for model in plan.measuring_models()), default=0))

    def _add(self, plan: Plan, estimate: StudyEstimate) -> None:
        """Adds the jobs of a study, from the last to the first, with the lengths of their paths.

        A job of several studies keeps its longest path.
        """
        study = plan.study
        data = plan.dataset_name()
        after = self._put(Job("report"), estimate.of("report"), 0, 0.0)
        after = self._put(Job("compare", study.name), estimate.of("compare"), 0, after)
        judged = [*study.methods, *plan.at_checkpoints()]
        of_evaluations, of_samples = 0.0, {}
        to_evaluate = self.gpus_to_evaluate(plan)
        for name in (REAL, *judged):
            job, one = Job("evaluate", f"{study.name}/{name}"), estimate.of("evaluate", name)
            length = self._put(job, one, to_evaluate, after)
            of_evaluations = max(of_evaluations, length)
            if name != REAL:
                gpus = self.gpus_to_sample(plan, name)
                job, one = Job("sample", f"{study.name}/{name}"), estimate.of("sample", name)
                of_samples[name] = self._put(job, one, gpus, length)
        following: dict[str, list[float]] = {name: [after] for name in study.models}
        for name in plan.measuring_models():
            following[name].append(of_evaluations)
        tuned = self._tuned(plan, estimate, of_samples)
        for name, length in tuned.items():
            models = study.methods[name].models()
            for model in dict.fromkeys([*models, *plan.tuning_models()]):
                following[model].append(length)
        for name, length in of_samples.items():
            method, _ = plan.at_step(name)
            for model in [*method.models(), *study.constraint_models(method.sampler.constraint_names())]:
                following[model].append(length)
        longest = max([after, *of_samples.values(), *tuned.values()])
        for name in _dependents_first(study):
            job, one = Job("train", plan.trained_name(name)), estimate.of("train", name)
            fixed = FIXED["train"]
            fixed = fixed._replace(
                seconds=fixed.seconds + FIXED_SECONDS_PER_STEP * study.models[name].training.steps
            )
            gpus = self.gpus(plan, name)
            length = self._put(job, one, gpus, max(following[name]), fixed)
            for below in study.depends_on(name):
                following[below].append(length)
            longest = max(longest, length)
        length = self._put(Job("rehearse", data), estimate.of("rehearse"), 0, longest)
        self._put(Job("generate", data), estimate.of("generate"), 0, length)

    def _tuned(
        self, plan: Plan, estimate: StudyEstimate, of_samples: Mapping[str, float]
    ) -> dict[str, float]:
        """Adds the jobs that tune methods, and returns the lengths of their paths by method."""
        found = {}
        for name in plan.swept():
            job, one = Job("tune", f"{plan.study.name}/{name}"), estimate.of("tune", name)
            following = max(
                length
                for judged, length in of_samples.items()
                if plan.tuned_by(judged) == [plan.tuning(name)]
            )
            gpus = self.gpus_to_sample(plan, name)
            found[name] = self._put(job, one, gpus, following)
        return found

    def _put(
        self,
        job: Job,
        estimate: JobEstimate | None,
        gpus: int,
        after: float,
        fixed: Fixed | None = None,
    ) -> float:
        """Adds a job and returns the length of its longest path (s), given that of what follows it."""
        request = self._request(estimate, fixed or FIXED[job.stage], gpus)
        path = max(request.seconds + after, self.requests[job].path if job in self.requests else 0.0)
        self.requests[job] = replace(request, path=path)
        return path

    def _request(self, estimate: JobEstimate | None, fixed: Fixed, gpus: int) -> Request:
        if estimate is None or estimate.unknown:
            return Request(fixed.seconds, fixed.memory, gpus, self.spec.margin, fixed)
        machine = self.spec.gpu if gpus else self.spec.core
        # Devices share the batch of a training.
        seconds = self.spec.start + machine.seconds(estimate.work) / max(1, gpus)
        return Request(seconds, self.spec.memory + estimate.memory / 1e6, gpus, self.spec.margin)


def _dependents_first(study: Study) -> list[str]:
    """The models of a study, each before those that it depends on."""
    order = TopologicalSorter({name: study.depends_on(name) for name in study.models}).static_order()
    return list(order)[::-1]


def jobs_of(plan: Plan) -> Iterator[tuple[Job, str, int]]:
    """The jobs of a study in the order of the rules, the name of each in the estimate, and their number."""
    study = plan.study
    seeds, data = len(study.seeds), plan.dataset_name()
    yield Job("generate", data), "", study.dataset.parts
    yield Job("rehearse", data), "", 1
    for name in _dependents_first(study)[::-1]:
        yield Job("train", plan.trained_name(name)), name, seeds
    for name in plan.swept():
        yield Job("tune", f"{study.name}/{name}"), name, 1
    judged = [*study.methods, *plan.at_checkpoints()]
    for name in judged:
        yield Job("sample", f"{study.name}/{name}"), name, seeds * study.samples.parts
    for name in (REAL, *judged):
        yield Job("evaluate", f"{study.name}/{name}"), name, seeds
    yield Job("compare", study.name), "", 1


class Sum(NamedTuple):
    """What several studies take together.

    Attributes:
        jobs: the number of jobs.
        core_seconds: time on CPU cores (s).
        gpu_seconds: time on GPUs (s).
        path: the longest path from the data to the report (s).
        disk: size of all outputs (bytes).
    """

    jobs: int
    core_seconds: float
    gpu_seconds: float
    path: float
    disk: float

    def text(self, cores: int) -> str:
        """The sum in a line.

        Args:
            cores: number of cores, each of which runs one job at a time.
        """
        wall = max(self.path, (self.core_seconds + self.gpu_seconds) / max(1, cores))
        gpus = f", {duration(self.gpu_seconds)} on GPUs" if self.gpu_seconds else ""
        return (
            f"{self.jobs} jobs: {duration(self.core_seconds)} on CPU cores{gpus}, about {duration(wall)} "
            f"with {cores} jobs at a time, {size(self.disk)} of disk"
        )


def total(plans: Sequence[Plan], estimates: Mapping[str, StudyEstimate], requests: Requests) -> Sum:
    """The sum of all jobs; jobs that studies share count once."""
    known: dict[Job, tuple[int, float]] = {Job("report"): (1, 0.0)}
    for plan in plans:
        estimate = estimates.get(plan.study.name, StudyEstimate())
        for job, name, count in jobs_of(plan):
            one = estimate.of(job.stage, name)
            known[job] = (max(count, known.get(job, (0, 0.0))[0]), one.disk if one else 0.0)
    on_cores = on_gpus = disk = 0.0
    for job, (count, each) in known.items():
        request = requests.requests[job]
        if request.gpus:
            on_gpus += count * request.seconds * request.gpus
        else:
            on_cores += count * request.seconds
        disk += count * each
    path = max((request.path for request in requests.requests.values()), default=0.0)
    return Sum(sum(count for count, _ in known.values()), on_cores, on_gpus, path, disk)


def duration(seconds: float) -> str:
    """A time for people: seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"

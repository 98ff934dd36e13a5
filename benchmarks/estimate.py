"""Estimates beside measured jobs: CPU time and peak memory of the jobs of studies at laptop scale.

Every job is a command of its own on one thread, as Snakemake runs it, with the seed and the part 0 of each
stage. The operating system counts its CPU time and its peak resident memory. A training of an estimated
minute or more is cut: its time follows from two short trainings, and is marked with `~`.

    python benchmarks/estimate.py                      # the default studies: 15 minutes
    python benchmarks/estimate.py burgers gaussian     # these studies
    python benchmarks/estimate.py --fit                # also fits `resources.core` to the measured times
    python benchmarks/estimate.py --schedule           # only simulates the order of the jobs on two cores
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import numpy as np
from scipy.optimize import nnls

from plumbline.estimates import FOLDER, JobEstimate, StudyEstimate
from plumbline.estimating import estimates_of
from plumbline.machine import ResourcesSpec
from plumbline.plan import CHECKPOINTS, Plan
from plumbline.resources import Job, Requests, jobs_of
from plumbline.study import REAL, load_study
from plumbline.workflow_files import path_of_study

DEFAULT = ("burgers", "combustion", "gaussian", "process", "constrained_vae")
LONG = 60.0
"""Estimated seconds from which on a training is cut."""
SHORT = (40, 240)
"""Steps of the two short trainings that take its place."""
CORES, ORDERS = 2, 50
"""Cores, and random orders of the jobs, of the simulation."""


@dataclass(frozen=True)
class Measured:
    """CPU time (s) and peak resident memory (MB) of a job; `cut` if the time is extrapolated."""

    seconds: float
    memory: float
    cut: bool = False


@dataclass(frozen=True)
class Compared:
    """A job with its estimate and its measurement."""

    name: str
    estimate: JobEstimate
    seconds: float
    memory: float
    measured: Measured


def main() -> None:
    """Prints the table and, on request, the fitted speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("studies", nargs="*", default=DEFAULT)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--schedule", action="store_true")
    options = parser.parse_args()
    settings = ResourcesSpec()
    if options.schedule:
        print_schedules(options.studies or DEFAULT, settings)
        return
    found: list[Compared] = []
    print(
        "| job | estimated s | measured s | ratio | estimated MB | measured MB | ratio |\n"
        "|---|---:|---:|---:|---:|---:|---:|"
    )
    for name in options.studies or DEFAULT:
        with tempfile.TemporaryDirectory() as folder:
            for one in compared(name, Path(folder), settings):
                found.append(one)
                print(row(one), flush=True)
    print()
    for stage in ("generate", "train", "sample", "evaluate", "compare"):
        own = [one for one in found if f" {stage}" in one.name]
        if own:
            print(summary(stage, own))
    if options.fit:
        print(fitted(found, settings))


def print_schedules(names: Sequence[str], settings: ResourcesSpec) -> None:
    """Prints how long the estimated jobs take on two cores, in random order and longest path first."""
    studies = [load_study(path_of_study(name), "laptop") for name in names]
    plans = [Plan(study) for study in studies]
    estimates = estimates_of(studies, FOLDER, logging.getLogger("estimate"))
    requests = Requests(plans, estimates, settings, "laptop")
    seconds, after = graph(plans, requests)
    bound = max(sum(seconds.values()) / CORES, max(one.path for one in requests.requests.values()))
    generator = random.Random(0)
    orders = [{job: generator.random() for job in seconds} for _ in range(ORDERS)]
    found = sorted(makespan(seconds, after, order) for order in orders)
    path = {job: requests.of(*job[0]).path for job in seconds}
    print("| order of the jobs | minutes | over the lower bound |\n|---|---:|---:|")
    for what, value in (
        (f"random, median of {ORDERS}", median(found)),
        (f"random, longest of {ORDERS}", found[-1]),
        ("shortest path first", makespan(seconds, after, {job: -value for job, value in path.items()})),
        ("longest path first", makespan(seconds, after, path)),
    ):
        print(f"| {what} | {value / 60:.1f} | {value / bound:.2f} |")


Instance = tuple[Job, int]
"""A job: its kind, and the number of its seed and part."""


def graph(
    plans: Sequence[Plan], requests: Requests
) -> tuple[dict[Instance, float], dict[Instance, set[Instance]]]:
    """The seconds of every job, and the jobs that each waits for."""
    seconds: dict[Instance, float] = {}
    before: dict[Instance, set[Instance]] = {}

    def add(job: Job, number: int, waits: Iterable[Instance]) -> Instance:
        seconds[job, number] = requests.of(*job).seconds
        before.setdefault((job, number), set()).update(waits)
        return job, number

    comparisons = []
    for plan in plans:
        study, data = plan.study, plan.dataset_name()
        parts = [add(Job("generate", data), i, ()) for i in range(study.dataset.parts)]
        rehearsal = add(Job("rehearse", data), 0, parts)
        judged = [*study.methods, *plan.at_checkpoints()]
        evaluations, trained = [], []
        for seed in range(len(study.seeds)):
            models = {}
            for name in TopologicalSorter({n: study.depends_on(n) for n in study.models}).static_order():
                waits = [rehearsal, *(models[other] for other in study.depends_on(name))]
                models[name] = add(Job("train", plan.trained_name(name)), seed, waits)
            trained += models.values()
            measuring = [models[name] for name in plan.measuring_models()]
            for name in (REAL, *judged):
                waits = [*measuring, *parts]
                if name != REAL:
                    method, _ = plan.at_step(name)
                    of = [*method.models(), *study.constraint_models(method.sampler.constraint_names())]
                    for part in range(study.samples.parts):
                        number = seed * study.samples.parts + part
                        job = Job("sample", f"{study.name}/{name}")
                        waits.append(add(job, number, [*parts, *(models[model] for model in of)]))
                evaluations.append(add(Job("evaluate", f"{study.name}/{name}"), seed, waits))
        comparisons.append(add(Job("compare", study.name), 0, [*evaluations, *trained]))
    add(Job("report"), 0, comparisons)
    return seconds, before


def makespan(
    seconds: dict[Instance, float], before: dict[Instance, set[Instance]], priority: dict[Instance, float]
) -> float:
    """The time until all jobs are done (s), if each free core takes the ready job of highest priority."""
    waiting = {job: set(others) for job, others in before.items()}
    ready = [job for job, others in waiting.items() if not others]
    running: list[tuple[float, Instance]] = []
    now = 0.0
    while ready or running:
        ready.sort(key=priority.__getitem__)
        while ready and len(running) < CORES:
            job = ready.pop()
            running.append((now + seconds[job], job))
        running.sort()
        now, done = running.pop(0)
        for job, others in waiting.items():
            if done in others:
                others.remove(done)
                if not others:
                    ready.append(job)
    return now


def compared(name: str, folder: Path, settings: ResourcesSpec) -> Iterator[Compared]:
    """Runs one job of each kind of a study, in the order of the workflow."""
    study = load_study(path_of_study(name), "laptop")
    plan = Plan(study, folder)
    logger = logging.getLogger("estimate")
    estimate = estimates_of([study], FOLDER, logger).get(name, StudyEstimate())
    requests = Requests([plan], {name: estimate}, settings, "laptop")
    for job, of, _ in jobs_of(plan):
        one = estimate.of(job.stage, of)
        if one is None or one.unknown or job.stage == "rehearse":
            continue
        request = requests.of(*job)
        measured = measure(plan, job.stage, of, request.seconds)
        title = f"{name}: {job.stage} {of}".strip()
        yield Compared(title, one, request.seconds, request.memory, measured)


def measure(plan: Plan, stage: str, name: str, seconds: float) -> Measured:
    """Runs a job with the first seed. All parts are written, and the first one is measured."""
    study, seed = plan.study, plan.study.seeds[0]
    data = [str(part) for part in plan.dataset_parts()]

    def folders(names: Sequence[str]) -> list[str]:
        return [str(plan.model_folder(other, seed)) for other in names]

    if stage == "generate":
        runs = [
            command("generate", "--spec", plan.generate_slice(), "--part", str(i), "--output", part)
            for i, part in enumerate(data)
        ]
        return runs[0]
    if stage == "train":
        start = study.models[name].initialise
        arguments = ["--seed", str(seed), "--dataset", *data, "--output", *folders([name])]
        arguments += ["--models", *folders(study.built_with(name))]
        arguments += ["--initialise", *folders([start])] if start else []
        spec = plan.train_slice(name)
        if seconds < LONG or study.models[name].training.checkpoints:
            return command("train", "--spec", spec, *arguments)
        short = [command("train", "--spec", with_steps(spec, steps), *arguments) for steps in SHORT]
        each = (short[1].seconds - short[0].seconds) / (SHORT[1] - SHORT[0])
        steps = study.models[name].training.steps
        return Measured(short[1].seconds + each * (steps - SHORT[1]), short[1].memory, cut=True)
    if stage == "sample":
        method, step = plan.at_step(name)
        models = folders(method.models())
        if step is not None:
            models = [f"{folder}/{CHECKPOINTS}/step{step}" for folder in models]
        measuring = folders(study.constraint_models(method.sampler.constraint_names()))
        runs = [
            command(
                *("sample", "--spec", plan.sample_slice(name), "--seed", str(seed), "--part", str(i)),
                *("--dataset", *data, "--model", *models, "--constraint-models", *measuring),
                *("--output", str(part)),
            )
            for i, part in enumerate(plan.samples(name, seed))
        ]
        return runs[0]
    if stage == "evaluate":
        samples = [] if name == REAL else [str(part) for part in plan.samples(name, seed)]
        return command(
            *("evaluate", "--spec", plan.evaluate_slice(), "--seed", str(seed), "--dataset", *data),
            *("--samples", *samples, "--models", *folders(plan.measuring_models())),
            *("--output", str(plan.metrics(name, seed))),
        )
    one_seed = study.model_copy(update={"seeds": (seed,)}).canonical()
    return command(
        *("compare", "--spec", one_seed, "--results", str(plan.results)),
        *("--output", str(plan.comparison())),
    )


def with_steps(spec: str, steps: int) -> str:
    """A slice of a training with another number of steps."""
    values = json.loads(spec)
    values["model"]["training"]["steps"] = steps
    return json.dumps(values)


def command(stage: str, *arguments: str) -> Measured:
    """Runs the command of a stage on one thread.

    Raises:
        RuntimeError: the command failed.
    """
    whole = [sys.executable, "-m", "plumbline.cli", "stage", stage, *arguments]
    process = os.posix_spawn(
        sys.executable, whole, os.environ | {"OMP_NUM_THREADS": "1"},
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )  # fmt: skip
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"failed: {' '.join(whole)}")
    return Measured(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def row(one: Compared) -> str:
    """A line of the table."""
    mark = "~" if one.measured.cut else ""
    return (
        f"| {one.name} | {one.seconds:.1f} | {mark}{one.measured.seconds:.1f} | "
        f"{one.seconds / one.measured.seconds:.2f} | {one.memory:.0f} | {one.measured.memory:.0f} | "
        f"{one.memory / one.measured.memory:.2f} |"
    )


def summary(stage: str, found: Sequence[Compared]) -> str:
    """How many jobs of a stage are estimated within a factor of two, in time and in memory."""
    times = [one.seconds / one.measured.seconds for one in found]
    memories = [one.memory / one.measured.memory for one in found]

    def text(ratios: Sequence[float]) -> str:
        within = sum(0.5 <= ratio <= 2 for ratio in ratios)
        span = f"from {min(ratios):.2f} to {max(ratios):.2f}, median {median(ratios):.2f}"
        return f"{within} of {len(ratios)} ({span})"

    return f"{stage}: within a factor of two in time {text(times)}, in memory {text(memories)}"


def fitted(found: Sequence[Compared], settings: ResourcesSpec) -> str:
    """Speeds of a core that minimise the relative errors of the times of trainings and samplings."""
    used = [one for one in found if " train" in one.name or " sample" in one.name]
    work = np.array([one.estimate.work for one in used])
    seconds = np.array([one.measured.seconds for one in used])
    columns = np.c_[work[:, :3], np.ones(len(used))]
    scale = columns.max(0)
    solution, _ = nnls(columns / scale / seconds[:, None], np.ones(len(used)))
    overhead, per_flop, per_byte, start = solution / scale
    return (
        f"fitted: overhead {overhead:.3g} s, throughput {1 / max(per_flop, 1e-30):.3g} FLOP/s, "
        "bandwidth "
        f"{1 / max(per_byte, 1e-30):.3g} bytes/s, start {start:.3g} s "
        f"(now {settings.core}, {settings.start} s)"
    )


if __name__ == "__main__":
    main()

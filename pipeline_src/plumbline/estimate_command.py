"""The command `plumbline estimate`, and the sum that `plumbline run` prints before it starts."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from plumbline.estimates import FOLDER, JobEstimate, StudyEstimate
from plumbline.estimating import estimates_of, remembered_estimates
from plumbline.plan import Plan
from plumbline.resources import Request, Requests, duration, jobs_of, size, total
from plumbline.study import Configuration, Study, StudyError, load_configuration, load_study
from plumbline.study_file import SCALES, read_yaml
from plumbline.workflow_files import CONFIGURATION, configuration_file, path_of_study, studies_named

logger = logging.getLogger("plumbline")


def add_estimate(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to those of the command line."""
    parser = subparsers.add_parser(
        "estimate", help="estimate time, memory and disk of a study's jobs", description=estimate.__doc__
    )
    parser.add_argument("study", help="name of a study, or its YAML file")
    parser.add_argument("--scale", default="laptop", choices=SCALES, help="scale to estimate")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=estimate)


class Row(NamedTuple):
    """One kind of job of a study: its name, the number of such jobs, its estimate and its request."""

    name: str
    number: int
    estimate: JobEstimate | None
    request: Request


def estimate(options: argparse.Namespace) -> None:
    """Estimates what each job of a study computes, and the memory, disk and time that it takes.

    Times follow from the speeds under `resources` in config/config.yaml.
    """
    configuration = _configuration()
    study = _fingerprinted(load_study(path_of_study(options.study), options.scale), options.study)
    plan = Plan(study)
    estimates = estimates_of([study], FOLDER, logger, again=True)
    requests = Requests([plan], estimates, configuration.resources, options.scale)
    found = estimates.get(study.name, StudyEstimate(problem="torch is not installed."))
    rows = [
        Row(f"{job.stage} {name}".strip(), count, found.of(job.stage, name), requests.of(*job))
        for job, name, count in jobs_of(plan)
    ]
    if options.json:
        print(json.dumps([_values(row) for row in rows], indent=2))
        return
    for line in _table(rows):
        print(line)
    cores = os.cpu_count() or 1
    print(f"\n{total([plan], estimates, requests).text(cores)}.")
    machines = {"a core": configuration.resources.core}
    if any(row.request.gpus for row in rows):
        machines["a GPU"] = configuration.resources.gpu
    for name, machine in machines.items():
        print(
            f"Assumed for {name}: {machine.throughput / 1e9:g} GFLOP/s, {machine.bandwidth / 1e9:g} GB/s, "
            f"{machine.overhead * 1e6:g} us an operation (`resources` in {CONFIGURATION})."
        )
    for line in found.unknown():
        print(f"Not estimated: {line}")


HEADER = ("job", "jobs", "parameters", "GFLOP/step", "steps", "memory", "disk", "time", "asks for")


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as lines of a Markdown table with aligned columns."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
    for number, line in enumerate(cells):
        aligned = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        yield f"| {' | '.join(aligned)} |"
        if number == 0:
            ruler = ["-" * (widths[0] + 2), *("-" * (w + 1) + ":" for w in widths[1:])]
            yield f"|{'|'.join(ruler)}|"


def _cells(row: Row) -> tuple[str, ...]:
    one, request = row.estimate, row.request
    asks = f"{request.mem_mb() / 1000:.1f} GB, {request.runtime()} min"
    asks += f", {request.gpus} GPU" if request.gpus else ""
    if one is None or one.unknown:
        return (row.name, str(row.number), "", "", "", "unknown", "unknown", "unknown", asks)
    return (
        row.name,
        str(row.number),
        f"{one.parameters:,}" if one.parameters else "",
        f"{one.flops_per_step / 1e9:.3g}" if one.steps else "",
        # Of samplers, the number of network evaluations.
        f"{one.steps or round(one.network_evaluations) or ''}",
        size(1e6 * request.memory),
        size(one.disk),
        duration(request.seconds),
        asks,
    )


def _values(row: Row) -> dict[str, object]:
    one, request = row.estimate, row.request
    known = one is not None and not one.unknown
    values: dict[str, object] = {
        "job": row.name,
        "jobs": row.number,
        "seconds": request.seconds if known else None,
        "memory_mb": request.memory if known else None,
        "mem_mb": request.mem_mb(),
        "runtime": request.runtime(),
        "gpu": request.gpus,
        "priority": request.priority,
    }
    if one is not None:
        values |= {
            "disk_bytes": one.disk if known else None,
            "parameters": one.parameters,
            "steps": one.steps,
            "flops_per_step": one.flops_per_step,
            "network_evaluations": one.network_evaluations,
            "operations": one.work.operations,
            "flops": one.work.flops,
            "bytes": one.work.bytes,
            "note": one.note or one.unknown,
        }
    return values


def print_sum(studies: Sequence[str], scale: str | None, cores: int, *, compute: bool, forks: bool) -> None:
    """Prints what a run of studies takes from its start: time and disk.

    At scale `smoke`, and without torch, nothing is estimated and nothing printed. Faults of the configuration
    and of the studies are left to the run, which reports them.

    Args:
        studies: names of studies; empty for those of the configuration.
        scale: their scale; None for that of the configuration.
        cores: number of cores.
        compute: whether to estimate studies that have no estimate. Otherwise nothing is printed for them.
        forks: whether jobs are forks of the fork server, which start sooner.
    """
    try:
        configuration = _configuration()
        chosen = next((one for one in SCALES if one == scale), configuration.scale)
        if chosen == "smoke" or not configuration.resources.estimate:
            return
        names = studies_named(studies or configuration.studies)
        known = [_fingerprinted(load_study(path_of_study(name), chosen), name) for name in names]
    except (StudyError, OSError):
        return
    plans = [Plan(study) for study in known]
    estimates = estimates_of(known, FOLDER, logger) if compute else remembered_estimates(known, FOLDER)
    settings = configuration.resources
    settings = settings.model_copy(update={"start": settings.fork}) if forks else settings
    requests = Requests(plans, estimates, settings, chosen)
    if estimates and (compute or len(estimates) == len(known)):
        print(f"A run from its start takes, by estimate, {total(plans, estimates, requests).text(cores)}.")


def _fingerprinted(study: Study, source: str) -> Study:
    """The study with the fingerprints of its files; without them if a file is missing."""
    from plumbline.fingerprints import CACHE, fingerprinted

    try:
        return fingerprinted(study, source, CACHE, logger)
    except StudyError:
        return study


def _configuration() -> Configuration:
    """The configuration of this folder, or of the library."""
    file = configuration_file()
    return load_configuration(read_yaml(file), str(file))

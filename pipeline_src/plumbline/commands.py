"""What the commands for users do; `plumbline.cli` reads their options."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from plumbline.plan import COMPARISON, REPORT
from plumbline.workflow_files import CONFIGURATION

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.study import Configuration, Study

logger = logging.getLogger("plumbline")


def init(options: argparse.Namespace) -> None:
    """Writes a new project."""
    from plumbline.project import init_project

    written = init_project(options.folder)
    print(f"Wrote {len(written)} files to {options.folder}. To run the example:\n")
    print(f"  cd {options.folder}\n  plumbline run")


def new(options: argparse.Namespace) -> None:
    """Writes the template of a kind and its test."""
    from plumbline.project import new_kind

    kind, test = new_kind(options.room, options.name, Path())
    print(
        f"Wrote {kind} and {test}. Name the file under `plugins` of a study, and test it with "
        f"`pytest {test}`."
    )


def check(options: argparse.Namespace) -> None:
    """Checks a study and lists what it runs."""
    from plumbline.plan import Plan
    from plumbline.study import load_study
    from plumbline.workflow_files import path_of_study

    study = load_study(path_of_study(options.study), options.scale)
    plan = Plan(study)
    print(f"{study.name}: {study.title}, at scale {options.scale}")
    print(f"  dataset      {study.dataset.kind}, {study.dataset.splits.total} samples")
    for title, specs in (
        ("constraints", study.constraints),
        ("models", study.models),
        ("metrics", study.metrics),
    ):
        print(f"  {title:12s} {', '.join(f'{name} ({spec.kind})' for name, spec in specs.items()) or 'none'}")
    print(f"  methods      {', '.join(study.methods)}")
    print(f"  seeds        {', '.join(map(str, study.seeds))}")
    sampled = len(study.methods) + len(plan.at_checkpoints())
    trainings, parts = len(study.models) * len(study.seeds), study.samples.parts
    evaluations = (sampled + 1) * len(study.seeds)
    tunings = f"{len(plan.swept())} tunings, " if plan.swept() else ""
    print(
        f"  jobs         {study.dataset.parts} parts of data, 1 rehearsal, {trainings} trainings, {tunings}"
        f"{sampled * len(study.seeds) * parts} parts of samples, {evaluations} evaluations"
    )


def list_kinds(options: argparse.Namespace) -> None:
    """Lists the rooms, the kinds of a room, or the keys of a kind."""
    from plumbline.reporting.kind_texts import describe_kinds
    from plumbline.spec import load_plugin

    files = options.plugins
    if not files and CONFIGURATION.is_file():
        files = [file for study in _configured()[1] for file in study.plugins]
    for file in files:
        load_plugin(file)
    print(describe_kinds(options.room, options.kind))


def run(options: argparse.Namespace) -> int:
    """Runs the workflow in this folder."""
    from plumbline.estimate_command import print_sum
    from plumbline.workflow_files import workflow_folder

    if find_spec("snakemake") is None:
        raise ModuleNotFoundError("No module named 'snakemake'", name="snakemake")
    cores = int(options.cores) if options.cores.isdigit() else os.cpu_count() or 1
    dry = not {"-n", "--dry-run", "--dryrun"}.isdisjoint(options.snakemake)
    elsewhere = any(word.startswith(("--profile", "--executor", "-e")) for word in options.snakemake)
    forks = sys.platform == "linux" and not elsewhere
    print_sum(options.studies, options.scale, cores, compute=not dry, forks=forks)
    own = Path("Snakefile")
    snakefile = own if own.is_file() else workflow_folder() / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", options.cores]
    overrides = [f"studies=[{','.join(options.studies)}]"] if options.studies else []
    overrides += [f"scale={options.scale}"] if options.scale else []
    command += ["--config", *overrides] if overrides else []
    # Jobs call `python`. PATH starts with the folder of this one, in case its environment is not activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    code = subprocess.run([*command, *options.snakemake], env=os.environ | {"PATH": path}).returncode
    if code == 0 and not options.snakemake:
        print(f"The report: {Path(_results()).absolute() / REPORT}")
    return code


def _results() -> str:
    """The folder of results in this folder's configuration, or in the configuration of the library."""
    from plumbline.study import load_configuration
    from plumbline.study_file import read_yaml
    from plumbline.workflow_files import configuration_file

    file = configuration_file()
    return load_configuration(read_yaml(file), str(file)).results


def prune(options: argparse.Namespace) -> None:
    """Deletes data and models that no study of the configuration uses, after a question."""
    from plumbline.fingerprints import CACHE, fingerprinted
    from plumbline.plan import Plan
    from plumbline.project import unused_folders

    configuration, studies = _configured()
    results = Path(configuration.results)
    # The name of a dataset's folder depends on the contents of its files.
    known = [fingerprinted(study, study.name, CACHE, logger) for study in studies]
    unused = unused_folders(results, [Plan(study, results) for study in known])
    if not unused:
        print(f"The studies of {CONFIGURATION} use every dataset and model below {results}.")
        return
    for folder in unused:
        print(f"{folder.size / 1e6:10.1f} MB  {folder.path}")
    question = f"Delete these {len(unused)} folders, {sum(f.size for f in unused) / 1e6:.1f} MB? [y/N] "
    if options.yes or input(question).strip().lower() in ("y", "yes"):
        for folder in unused:
            shutil.rmtree(folder.path)
        print(f"Deleted {len(unused)} folders.")


def _configured() -> tuple[Configuration, list[Study]]:
    """Loads the configuration of this folder and its studies.

    Raises:
        StudyError: the configuration or a study is invalid.
    """
    from plumbline.study import load_configuration, load_study
    from plumbline.study_file import read_yaml
    from plumbline.workflow_files import path_of_study, studies_named

    configuration = load_configuration(read_yaml(CONFIGURATION), str(CONFIGURATION))
    names = studies_named(configuration.studies)
    studies = [load_study(path_of_study(name), configuration.scale) for name in names]
    return configuration, studies


def show(options: argparse.Namespace) -> None:
    """Prints what a study compared."""
    from plumbline.reporting.page import section
    from plumbline.reporting.tables import as_markdown
    from plumbline.reporting.tuned import tuned_as_markdown

    shown = section(_comparison(options.result))
    print(f"{shown.study.title}\n\n{shown.study.description}\n")
    for name, value in shown.facts:
        print(f"{name:15s} {value}")
    print(f"\n{as_markdown(shown.metrics)}\n\n{as_markdown(shown.costs)}")
    if shown.tuned:
        print(f"\n{tuned_as_markdown(shown.tuned)}")
    for warning in shown.warnings:
        print(f"\nWarning: {warning}")


def table(options: argparse.Namespace) -> None:
    """Prints a study's metrics."""
    from plumbline.reporting.table_formats import FORMATS
    from plumbline.reporting.tables import checkpoint_table, metric_table
    from plumbline.storage.origins import origin_warnings

    comparison = _comparison(options.result)
    requested = checkpoint_table if options.at_checkpoints else metric_table
    print(FORMATS[options.format](requested(comparison, options.metrics)))
    for warning in origin_warnings(comparison.attrs):
        logger.warning("%s", warning)


def _comparison(result: Path) -> xr.Dataset:
    """Loads a comparison from a study's folder of results, or from the store itself."""
    from plumbline.storage.store import load_store

    return load_store(result if result.suffix == ".zarr" else result / Path(COMPARISON).name)


def leaderboard(options: argparse.Namespace) -> None:
    """Prints methods by problems, and writes all metrics as CSV."""
    from plumbline.reporting.leaderboard import Problem, leaderboards, tidy_csv
    from plumbline.reporting.table_formats import FORMATS
    from plumbline.storage.partial import replace_text

    found = options.results or sorted(Path(_results()).glob(COMPARISON.format(study="*")))
    if not found:
        raise FileNotFoundError(
            f"there is no comparison below {_results()}: run the workflow, or name folders."
        )
    problems = [Problem.of(_comparison(result)) for result in found]
    for board in leaderboards(problems):
        print(f"## {board.title}\n\n{FORMATS[options.format](board)}\n")
    if options.output:
        replace_text(options.output, tidy_csv(problems))
        logger.info("wrote all metrics to %s.", options.output)


def export(options: argparse.Namespace) -> None:
    """Writes stores as HDF5."""
    from plumbline.storage.hdf5 import export_stores

    export_stores(options.parts, options.output)


def import_(options: argparse.Namespace) -> None:
    """Reads a file of another program into a store."""
    from plumbline.storage.importing import import_file
    from plumbline.storage.importing.options import from_text

    named = from_text(
        variables=options.variable,
        dims=options.dims,
        conditions=options.condition,
        coordinates=options.coordinate,
        edges=options.edges,
        faces=options.faces,
        periods=options.period,
        attributes=options.attribute,
    )
    import_file(options.file, options.output, named)


def keys(options: argparse.Namespace) -> int:
    """Writes the tables of config/README.md."""
    from plumbline.reporting.keys import update_keys

    return update_keys(options.output, check=options.check)

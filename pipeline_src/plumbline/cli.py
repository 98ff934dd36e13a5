"""The command line: commands for users, and the commands of the stages under `plumbline stage`."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plumbline import __version__
from plumbline.extras import remedy
from plumbline.plan import COMPARISON, REPORT

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    import xarray as xr

    from plumbline.study import Configuration, Study
    from plumbline.study_file import Scale

logger = logging.getLogger("plumbline")

CONFIGURATION = Path("config") / "config.yaml"
STUDIES = Path("config") / "studies"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status.

    An expected error is printed as one line, and its traceback is written to the log file only.

    Args:
        arguments: the command and its options; None for those of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    split = given.index("--") if given[:1] == ["run"] and "--" in given else len(given)
    options = _parser().parse_args(given[:split])
    options.snakemake = given[split + 1 :]
    _start_log(getattr(options, "log", None), options.command)
    try:
        return int(options.run(options) or 0)
    except Exception as error:
        missing = remedy(error) if isinstance(error, ModuleNotFoundError) else None
        logger.debug("%s", traceback.format_exc())
        logger.error("%s: %s", type(error).__name__, missing or error)
        if missing is None and not _expected(error):
            traceback.print_exc()
        return 1


def _expected(error: Exception) -> bool:
    """Whether the message suffices without a traceback: errors of the library, invalid values and files."""
    return type(error).__module__.startswith("plumbline") or isinstance(error, ValueError | OSError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plumbline",
        description="Trains, samples and compares generative models that must obey constraints.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    init = commands.add_parser("init", help="create a project in a new folder")
    init.add_argument("folder", type=Path, help="the folder")
    init.set_defaults(run=_init)

    new = commands.add_parser("new", help="write a template of a kind of your own, with a test")
    new.add_argument("room", choices=["constraint", "sampler", "metric", "dataset"], help="what it is")
    new.add_argument("name", help="its name, such as `energy_balance`")
    new.set_defaults(run=_new)

    check = commands.add_parser("check", help="validate a study and list its jobs")
    check.add_argument("study", help="name of a study, or its YAML file")
    check.add_argument(
        "--scale", default="laptop", choices=["smoke", "laptop", "paper"], help="scale to list"
    )
    check.set_defaults(run=_check)

    listed = commands.add_parser("kinds", help="list and explain the kinds that a study can use")
    listed.add_argument("room", nargs="?", help="datasets, constraints, models, samplers, metrics, ...")
    listed.add_argument("kind", nargs="?", help="a kind of the room, to explain its keys")
    listed.add_argument(
        "--plugins",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files with further kinds (default: those of the studies in config/config.yaml)",
    )
    listed.set_defaults(run=_kinds)

    run = commands.add_parser(
        "run",
        help="run the studies of config/config.yaml, or the named ones, and write the report",
        description="Runs the workflow in this folder. Options after -- are passed to Snakemake, as in "
        "-- --dry-run.",
    )
    run.add_argument("studies", nargs="*", help="names of studies (default: those of config/config.yaml)")
    run.add_argument("--scale", choices=["smoke", "laptop", "paper"], help="scale of every study")
    run.add_argument("--cores", default="all", help="cores of this machine to use (default: all)")
    run.set_defaults(run=_run)

    show = commands.add_parser("show", help="print a study's description, metrics, costs and warnings")
    show.add_argument("result", type=Path, help="a study's folder of results, such as results/gaussian")
    show.set_defaults(run=_show)

    table = commands.add_parser("table", help="print a study's metrics as a table")
    table.add_argument("result", type=Path, help="a study's folder of results, such as results/gaussian")
    table.add_argument("--metrics", nargs="+", help="names of the metrics (default: all)")
    table.add_argument(
        "--format",
        choices=["markdown", "csv", "latex", "json"],
        default="markdown",
        help="format of the table (default: markdown)",
    )
    table.add_argument(
        "--at-checkpoints", action="store_true", help="metrics at each training checkpoint, with its time"
    )
    table.set_defaults(run=_table)

    export = commands.add_parser(
        "export", help="write a dataset or samples as HDF5, in PDEBench's layout where it applies"
    )
    export.add_argument("parts", type=Path, nargs="+", help="the parts, in order")
    export.add_argument("--format", choices=["hdf5"], default="hdf5", help="format of the file")
    export.add_argument("--output", type=Path, required=True, help="the file to write")
    export.set_defaults(run=_export)

    _add_import(commands)

    prune = commands.add_parser("prune", help="list and delete datasets and models that no study uses")
    prune.add_argument("--yes", action="store_true", help="delete without asking")
    prune.set_defaults(run=_prune)

    keys = commands.add_parser("keys", help="write the key tables of config/README.md")
    keys.add_argument("--output", type=Path, required=True, help="the file with the tables")
    keys.add_argument("--check", action="store_true", help="only check whether the file is up to date")
    keys.set_defaults(run=_keys)

    completion = commands.add_parser("completion", help="print the completion script of a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="the shell")
    completion.set_defaults(run=_completion)

    stage = commands.add_parser("stage", help="commands of the stages, called by the workflow")
    from plumbline.stages._commands import add_stages

    add_stages(stage.add_subparsers(dest="command", required=True, metavar="stage"))
    return parser


def _add_import(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "import",
        help="convert a file of another program to a store",
        description="Converts HDF5 (PDEBench, The Well, MATLAB 7.3), .mat, .npz, .npy, NetCDF, CSV, Parquet "
        "or zarr to a store. Options supply information that the file lacks.",
    )
    parser.add_argument("file", help="a file, a folder with a zarr store, or an address such as s3://...")
    parser.add_argument("--output", type=Path, required=True, help="the store to write")
    parser.add_argument(
        "--variable", action="append", default=[], metavar="NAME[,NAME]", help="arrays that become the state"
    )
    parser.add_argument(
        "--dims",
        action="append",
        default=[],
        metavar="[NAME=]DIM,DIM",
        help="dimensions of the state, or of the array NAME, in the file's order: sample, time, x, y, z, "
        "channel, and _ for an axis of length one, which is dropped",
    )
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME[,NAME]",
        help="arrays that become the condition",
    )
    parser.add_argument(
        "--coordinate",
        action="append",
        default=[],
        metavar="DIM=NAME",
        help="array of a coordinate; DIM= for none",
    )
    parser.add_argument(
        "--edges", action="append", default=[], metavar="DIM", help="the coordinate contains cell edges"
    )
    parser.add_argument(
        "--faces", choices=["mean", "first"], help="how fields on cell faces are moved to cell centres"
    )
    parser.add_argument(
        "--period",
        action="append",
        default=[],
        metavar="DIM=NUMBER",
        help="the period of a periodic dimension",
    )
    parser.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=NUMBER", help="such as viscosity=0.01"
    )
    parser.set_defaults(run=_import)


def _start_log(path: Path | None, command: str) -> None:
    """Logs to standard error and, with tracebacks, to the job's file if there is one."""
    # The file's stem is the job's name, which distinguishes the lines of parallel jobs.
    name = f"{command} {path.stem}" if path else command
    layout = logging.Formatter(f"%(asctime)s {name}: %(message)s", datefmt="%H:%M:%S")
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [screen]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w"))
    for former in list(logger.handlers):
        logger.removeHandler(former)
        former.close()
    logger.setLevel(logging.DEBUG)
    for handler in handlers:
        handler.setFormatter(layout)
        logger.addHandler(handler)


def _init(options: argparse.Namespace) -> None:
    from plumbline.project import init_project

    written = init_project(options.folder)
    print(f"Wrote {len(written)} files to {options.folder}. To run the example:\n")
    print(f"  cd {options.folder}\n  plumbline run")


def _new(options: argparse.Namespace) -> None:
    from plumbline.project import new_kind

    kind, test = new_kind(options.room, options.name, Path())
    print(
        f"Wrote {kind} and {test}. Name the file under `plugins` of a study, and test it with "
        f"`pytest {test}`."
    )


def _check(options: argparse.Namespace) -> None:
    from plumbline.plan import Plan

    study = _study(options.study, options.scale)
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
    print(
        f"  jobs         {study.dataset.parts} parts of data, 1 rehearsal, {trainings} trainings, "
        f"{sampled * len(study.seeds) * parts} parts of samples, {evaluations} evaluations"
    )


def _kinds(options: argparse.Namespace) -> None:
    from plumbline.reporting.kind_texts import describe_kinds
    from plumbline.spec import load_plugin

    if options.plugins:
        for file in options.plugins:
            load_plugin(file)
    elif CONFIGURATION.is_file():
        _configured()
    print(describe_kinds(options.room, options.kind))


def _run(options: argparse.Namespace) -> int:
    from plumbline.workflow_files import workflow_folder

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
    from plumbline.workflow_files import workflow_folder

    file = CONFIGURATION if CONFIGURATION.is_file() else workflow_folder() / CONFIGURATION
    return load_configuration(read_yaml(file), str(file)).results


def _prune(options: argparse.Namespace) -> None:
    from plumbline.plan import Plan
    from plumbline.project import unused_folders

    configuration, studies = _configured()
    results = Path(configuration.results)
    unused = unused_folders(results, [Plan(study, results) for study in studies])
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


def _study(name: str, scale: Scale) -> Study:
    """Loads a study by its name or its file."""
    from plumbline.study import load_study
    from plumbline.workflow_files import study_file

    return load_study(Path(name) if name.endswith(".yaml") else study_file(name, STUDIES), scale)


def _configured() -> tuple[Configuration, list[Study]]:
    """Loads the configuration of this folder and its studies, with the fingerprints of their input files.

    Raises:
        StudyError: the configuration or a study is invalid.
    """
    from plumbline.fingerprints import fingerprinted
    from plumbline.study import load_configuration
    from plumbline.study_file import read_yaml

    configuration = load_configuration(read_yaml(CONFIGURATION), str(CONFIGURATION))
    cache = Path(".snakemake") / "plumbline" / "fingerprints"
    studies = [
        fingerprinted(_study(name, configuration.scale), name, cache, logger)
        for name in configuration.studies
    ]
    return configuration, studies


def _show(options: argparse.Namespace) -> None:
    from plumbline.reporting.page import section
    from plumbline.reporting.tables import as_markdown

    shown = section(_comparison(options.result))
    print(f"{shown.study.title}\n\n{shown.study.description}\n")
    for name, value in shown.facts:
        print(f"{name:15s} {value}")
    print(f"\n{as_markdown(shown.metrics)}\n\n{as_markdown(shown.costs)}")
    for warning in shown.warnings:
        print(f"\nWarning: {warning}")


def _table(options: argparse.Namespace) -> None:
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


def _export(options: argparse.Namespace) -> None:
    from plumbline.storage.hdf5 import export_stores

    export_stores(options.parts, options.output)


def _import(options: argparse.Namespace) -> None:
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


def _completion(options: argparse.Namespace) -> None:
    import shtab

    print(shtab.complete(_parser(), options.shell))


def _keys(options: argparse.Namespace) -> int:
    from plumbline.reporting.keys import update_keys

    return update_keys(options.output, check=options.check)


if __name__ == "__main__":
    sys.exit(main())

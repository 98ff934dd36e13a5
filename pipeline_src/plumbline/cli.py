"""The command line: commands for users, and the commands of the stages under `plumbline stage`."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from plumbline import __version__, commands
from plumbline.extras import remedy
from plumbline.interruption import exit_on_request

if TYPE_CHECKING:
    from argparse import _SubParsersAction


logger = logging.getLogger("plumbline")


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
    options.arguments = given
    if given[:1] == ["stage"]:
        exit_on_request()
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
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")

    init = subparsers.add_parser("init", help="create a project in a new folder")
    init.add_argument("folder", type=Path, help="the folder")
    init.set_defaults(run=commands.init)

    new = subparsers.add_parser("new", help="write a template of a kind of your own, with a test")
    new.add_argument("room", choices=["constraint", "sampler", "metric", "dataset"], help="what it is")
    new.add_argument("name", help="its name, such as `energy_balance`")
    new.set_defaults(run=commands.new)

    check = subparsers.add_parser("check", help="validate a study and list its jobs")
    check.add_argument("study", help="name of a study, or its YAML file")
    check.add_argument(
        "--scale", default="laptop", choices=["smoke", "laptop", "paper"], help="scale to list"
    )
    check.set_defaults(run=commands.check)

    from plumbline.estimate_command import add_estimate

    add_estimate(subparsers)

    listed = subparsers.add_parser("kinds", help="list and explain the kinds that a study can use")
    listed.add_argument("room", nargs="?", help="datasets, constraints, models, samplers, metrics, ...")
    listed.add_argument("kind", nargs="?", help="a kind of the room, to explain its keys")
    listed.add_argument(
        "--plugins",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files with further kinds (default: those of the studies in config/config.yaml)",
    )
    listed.set_defaults(run=commands.list_kinds)

    run = subparsers.add_parser(
        "run",
        help="run the studies of config/config.yaml, or the named ones, and write the report",
        description="Runs the workflow in this folder. Options after -- are passed to Snakemake, as in "
        "-- --dry-run.",
    )
    run.add_argument("studies", nargs="*", help="names of studies (default: those of config/config.yaml)")
    run.add_argument("--scale", choices=["smoke", "laptop", "paper"], help="scale of every study")
    run.add_argument("--cores", default="all", help="cores of this machine to use (default: all)")
    run.set_defaults(run=commands.run)

    show = subparsers.add_parser("show", help="print a study's description, metrics, costs and warnings")
    show.add_argument("result", type=Path, help="a study's folder of results, such as results/gaussian")
    show.set_defaults(run=commands.show)

    table = subparsers.add_parser("table", help="print a study's metrics as a table")
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
    table.set_defaults(run=commands.table)

    board = subparsers.add_parser(
        "leaderboard",
        help="print methods by problems, from the results of several studies",
        description="Prints one table per quantity: violation, errors of mean and spread, distance over its "
        "floor, branches, and cost, with intervals over seeds and ranks where a paired test tells methods "
        "apart.",
    )
    board.add_argument(
        "results",
        type=Path,
        nargs="*",
        help="studies' folders of results (default: all below the folder of results)",
    )
    board.add_argument(
        "--format",
        choices=["markdown", "latex"],
        default="markdown",
        help="format of the tables (default: markdown)",
    )
    board.add_argument("--output", type=Path, help="CSV file to write: every metric of every method and seed")
    board.set_defaults(run=commands.leaderboard)

    export = subparsers.add_parser(
        "export", help="write a dataset or samples as HDF5, in PDEBench's layout where it applies"
    )
    export.add_argument("parts", type=Path, nargs="+", help="the parts, in order")
    export.add_argument("--format", choices=["hdf5"], default="hdf5", help="format of the file")
    export.add_argument("--output", type=Path, required=True, help="the file to write")
    export.set_defaults(run=commands.export)

    _add_import(subparsers)

    prune = subparsers.add_parser("prune", help="list and delete datasets and models that no study uses")
    prune.add_argument("--yes", action="store_true", help="delete without asking")
    prune.set_defaults(run=commands.prune)

    keys = subparsers.add_parser("keys", help="write the key tables of config/README.md")
    keys.add_argument("--output", type=Path, required=True, help="the file with the tables")
    keys.add_argument("--check", action="store_true", help="only check whether the file is up to date")
    keys.set_defaults(run=commands.keys)

    completion = subparsers.add_parser("completion", help="print the completion script of a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="the shell")
    completion.set_defaults(run=_completion)

    stage = subparsers.add_parser("stage", help="commands of the stages, called by the workflow")
    from plumbline.stages._commands import add_stages

    add_stages(stage.add_subparsers(dest="command", required=True, metavar="stage"))
    return parser


def _add_import(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
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
    parser.set_defaults(run=commands.import_)


def _start_log(path: Path | None, command: str) -> None:
    """Logs to standard error and, with tracebacks, to the job's file if there is one."""
    # The file's stem is the job's name, which distinguishes the lines of parallel jobs.
    name = f"{command} {path.stem}" if path else command
    layout = logging.Formatter(f"%(asctime)s {name}: %(message)s", datefmt="%H:%M:%S")
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [screen]
    if path is not None:
        from plumbline.training._nodes import is_started_by_training

        path.parent.mkdir(parents=True, exist_ok=True)
        # All processes of a training write to one log.
        handlers.append(logging.FileHandler(path, mode="a" if is_started_by_training() else "w"))
    for former in list(logger.handlers):
        logger.removeHandler(former)
        former.close()
    logger.setLevel(logging.DEBUG)
    for handler in handlers:
        handler.setFormatter(layout)
        logger.addHandler(handler)


def _completion(options: argparse.Namespace) -> None:
    import shtab

    print(shtab.complete(_parser(), options.shell))


def leave(status: int) -> NoReturn:
    """Ends the process like the interpreter, except that modules stay as they are.

    Taking them apart takes half a second once torch is imported.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for open_file in gc.get_objects():
        if issubclass(type(open_file), io.IOBase) and not open_file.closed and open_file.writable():
            with contextlib.suppress(OSError, ValueError):
                open_file.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())

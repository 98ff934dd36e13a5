"""The command line: one sub-command a stage, and a few for people."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plumbline import __version__

logger = logging.getLogger("plumbline")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a sub-command; an expected error is one line, with the traceback in the log file only."""
    options = _parser().parse_args(arguments)
    _start_log(getattr(options, "log", None), options.command)
    try:
        return int(options.run(options) or 0)
    except Exception as error:
        logger.debug("%s", traceback.format_exc())
        logger.error("%s: %s", type(error).__name__, error)
        if not _expected(error):
            traceback.print_exc()
        return 1


def _expected(error: Exception) -> bool:
    """Whether the message alone tells a user what to do: our own errors, and bad values and files."""
    return type(error).__module__.startswith("plumbline") or isinstance(error, ValueError | OSError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plumbline", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    generate = commands.add_parser("generate", help="draw one part of a dataset")
    _stage(generate)
    generate.add_argument("--part", type=int, required=True)
    generate.set_defaults(run=_generate)

    rehearse = commands.add_parser("rehearse", help="try what studies do with a dataset, once and small")
    rehearse.add_argument("--spec", nargs="+", required=True, help="the studies, as JSON")
    rehearse.add_argument("--dataset", type=Path, nargs="+", required=True)
    rehearse.add_argument("--scale", required=True, help="the scale that they run at")
    rehearse.add_argument("--output", type=Path, required=True)
    rehearse.add_argument("--log", type=Path, help="file that the log is also written to")
    rehearse.set_defaults(run=_rehearse)

    train = commands.add_parser("train", help="train one model with one seed")
    _stage(train)
    train.add_argument("--seed", type=int, required=True)
    train.add_argument("--dataset", type=Path, nargs="+", required=True)
    train.add_argument(
        "--models", type=Path, nargs="*", default=[], help="folders of the models it is built with"
    )
    train.add_argument(
        "--studies", nargs="*", default=[], help="studies that must have been rehearsed, as JSON"
    )
    train.add_argument("--rehearsal", type=Path, help="file that says which have been")
    train.add_argument("--scale", default="paper", help="the scale that they run at")
    train.add_argument("--initialise", type=Path)
    train.set_defaults(run=_train)

    sample = commands.add_parser("sample", help="draw one part of a method's samples")
    _stage(sample)
    sample.add_argument("--seed", type=int, required=True)
    sample.add_argument("--part", type=int, required=True)
    sample.add_argument("--dataset", type=Path, nargs="+", required=True)
    sample.add_argument("--model", type=Path, nargs="+", required=True)
    sample.add_argument(
        "--constraint-models", type=Path, nargs="*", default=[], help="folders of the constraints' models"
    )
    sample.set_defaults(run=_sample)

    evaluate = commands.add_parser("evaluate", help="judge the samples of one method and seed")
    _stage(evaluate)
    evaluate.add_argument("--seed", type=int, required=True)
    evaluate.add_argument("--dataset", type=Path, nargs="+", required=True)
    evaluate.add_argument("--samples", type=Path, nargs="*", default=[])
    evaluate.add_argument(
        "--models", type=Path, nargs="*", default=[], help="folders of the constraints' and metrics' models"
    )
    evaluate.set_defaults(run=_evaluate)

    compare = commands.add_parser("compare", help="gather a study's metrics, costs and examples")
    _stage(compare)
    compare.add_argument("--results", type=Path, required=True, help="folder of the results")
    compare.set_defaults(run=_compare)

    report = commands.add_parser("report", help="write the page from comparisons")
    report.add_argument("--comparisons", type=Path, nargs="+", required=True)
    report.add_argument("--output", type=Path, required=True)
    report.add_argument("--log", type=Path)
    report.set_defaults(run=_report)

    table = commands.add_parser("table", help="print a study's metrics as Markdown")
    table.add_argument("comparison", type=Path)
    table.add_argument("--metrics", nargs="+", help="names of the metrics; all without")
    table.add_argument(
        "--at-checkpoints", action="store_true", help="as training goes on, with the time that it took"
    )
    table.set_defaults(run=_table)

    export = commands.add_parser(
        "export", help="write a dataset or samples as HDF5, in PDEBench's layout where it has a place"
    )
    export.add_argument("parts", type=Path, nargs="+", help="the parts, in order")
    export.add_argument("--format", choices=["hdf5"], default="hdf5")
    export.add_argument("--output", type=Path, required=True)
    export.set_defaults(run=_export)

    _add_import(commands)

    keys = commands.add_parser("keys", help="write the tables of keys of config/README.md")
    keys.add_argument("--output", type=Path, required=True)
    keys.add_argument("--check", action="store_true", help="only say whether the file is up to date")
    keys.set_defaults(run=_keys)
    return parser


def _add_import(commands: Any) -> None:
    parser = commands.add_parser(
        "import",
        help="read a file of another program into a store",
        description="Reads HDF5 (PDEBench, The Well, MATLAB 7.3), .mat, .npz, .npy, NetCDF, CSV, Parquet or zarr into a "
        "store. What the file does not say itself is said by the options.",
    )
    parser.add_argument("file", help="a file, a folder with a zarr store, or an address such as s3://...")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--variable", action="append", default=[], metavar="NAME[,NAME]", help="arrays that become the state"
    )
    parser.add_argument(
        "--dims",
        action="append",
        default=[],
        metavar="[NAME=]DIM,DIM",
        help="dimensions of the state, or of the array NAME, in the file's order: sample, time, x, y, z, channel, and _ for "
        "an axis of length one that is left out",
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
        "--edges", action="append", default=[], metavar="DIM", help="the coordinate holds the edges of cells"
    )
    parser.add_argument(
        "--faces", choices=["mean", "first"], help="how fields on the faces of cells are moved to the cells"
    )
    parser.add_argument(
        "--period", action="append", default=[], metavar="DIM=NUMBER", help="a periodic direction"
    )
    parser.add_argument(
        "--attribute", action="append", default=[], metavar="NAME=NUMBER", help="such as viscosity=0.01"
    )
    parser.set_defaults(run=_import)


def _stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spec", required=True, help="the job's slice of the study, as JSON")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--log", type=Path, help="file that the log is also written to")


def _start_log(path: Path | None, command: str) -> None:
    """Lines to standard error, for the person; the same with tracebacks to the job's file."""
    # The file's stem is the job's own name, which tells the lines of parallel jobs apart.
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


def _generate(options: argparse.Namespace) -> None:
    from plumbline.stages.generate import generate

    generate(options.spec, part=options.part, output=options.output)


def _rehearse(options: argparse.Namespace) -> None:
    from plumbline.stages.rehearse import rehearse

    rehearse(options.spec, dataset=options.dataset, scale=options.scale, output=options.output)


def _train(options: argparse.Namespace) -> None:
    from plumbline.stages.train import train

    if options.rehearsal is not None and "LOCAL_RANK" not in os.environ:
        from plumbline.stages.rehearse import rehearse

        rehearse(options.studies, dataset=options.dataset, scale=options.scale, output=options.rehearsal)
    train(
        options.spec,
        seed=options.seed,
        dataset=options.dataset,
        output=options.output,
        models=options.models,
        initialise=options.initialise,
    )


def _sample(options: argparse.Namespace) -> None:
    from plumbline.stages.sample import sample

    sample(
        options.spec,
        seed=options.seed,
        part=options.part,
        dataset=options.dataset,
        model=options.model,
        output=options.output,
        constraint_models=options.constraint_models,
    )


def _evaluate(options: argparse.Namespace) -> None:
    from plumbline.stages.evaluate import evaluate

    evaluate(
        options.spec,
        seed=options.seed,
        dataset=options.dataset,
        samples=options.samples,
        output=options.output,
        models=options.models,
    )


def _compare(options: argparse.Namespace) -> None:
    from plumbline.stages.compare import compare

    compare(options.spec, results=options.results, output=options.output)


def _report(options: argparse.Namespace) -> None:
    from plumbline.reporting.page import write_page

    write_page(options.comparisons, options.output)


def _table(options: argparse.Namespace) -> None:
    from plumbline.reporting.tables import as_markdown, checkpoint_table, metric_table
    from plumbline.storage.origins import origin_warnings
    from plumbline.storage.store import load_store

    comparison = load_store(options.comparison)
    wanted = checkpoint_table if options.at_checkpoints else metric_table
    print(as_markdown(wanted(comparison, options.metrics)))
    for warning in origin_warnings(comparison.attrs):
        logger.warning("%s", warning)


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


def _keys(options: argparse.Namespace) -> int:
    from plumbline.reporting.keys import update_keys

    return update_keys(options.output, check=options.check)


if __name__ == "__main__":
    sys.exit(main())

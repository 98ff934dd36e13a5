"""The commands `plumbline stage ...`, which the rules of the workflow call: one command per rule."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction

logger = logging.getLogger("plumbline")


def add_stages(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds one command per stage. The default `run` of each parser is a function of the parsed options."""
    generate = _stage(commands, "generate", "generate one part of a dataset")
    generate.add_argument("--part", type=int, required=True, help="index of the part, from 0")
    generate.set_defaults(run=_generate)

    rehearse = commands.add_parser("rehearse", help="test the studies of a dataset once, at small size")
    rehearse.add_argument("--spec", nargs="+", required=True, help="the studies, as JSON")
    _parts(rehearse)
    rehearse.add_argument("--scale", required=True, help="the scale of the studies")
    rehearse.add_argument("--output", type=Path, required=True, help="the file to write")
    rehearse.add_argument("--log", type=Path, help="file that the log is also written to")
    rehearse.set_defaults(run=_rehearse)

    train = _stage(commands, "train", "train one model with one seed")
    train.add_argument("--seed", type=int, required=True, help="random seed of the training")
    _parts(train)
    train.add_argument(
        "--models", type=Path, nargs="*", default=[], help="folders of the models that the model depends on"
    )
    train.add_argument(
        "--studies", nargs="*", default=[], help="studies that must have been rehearsed, as JSON"
    )
    train.add_argument(
        "--rehearsal", type=Path, help="the file that records which studies have been rehearsed"
    )
    train.add_argument("--scale", default="paper", help="the scale of the studies")
    train.add_argument(
        "--initialise", type=Path, help="folder of the model whose weights the training starts from"
    )
    train.set_defaults(run=_train)

    tune = _stage(commands, "tune", "choose the values of a method's sweep on the validation split")
    tune.add_argument("--seed", type=int, required=True, help="first seed of the study")
    _parts(tune)
    tune.add_argument("--model", type=Path, nargs="*", default=[], help="folders of the method's models")
    tune.add_argument(
        "--measuring-models",
        type=Path,
        nargs="*",
        default=[],
        help="folders of the constraints' and the metric's models",
    )
    tune.set_defaults(run=_tune)

    sample = _stage(commands, "sample", "draw one part of a method's samples")
    sample.add_argument("--seed", type=int, required=True, help="seed of the method")
    sample.add_argument("--part", type=int, required=True, help="index of the part, from 0")
    _parts(sample)
    sample.add_argument("--model", type=Path, nargs="*", default=[], help="folders of the method's models")
    sample.add_argument(
        "--constraint-models", type=Path, nargs="*", default=[], help="folders of the constraints' models"
    )
    sample.add_argument("--tuning", type=Path, nargs="*", default=[], help="record of the method's tuning")
    sample.set_defaults(run=_sample)

    evaluate = _stage(commands, "evaluate", "evaluate the samples of one method and seed")
    evaluate.add_argument("--seed", type=int, required=True, help="seed of the method")
    _parts(evaluate)
    evaluate.add_argument(
        "--samples", type=Path, nargs="*", default=[], help="parts of the samples; none for held-out data"
    )
    evaluate.add_argument(
        "--models", type=Path, nargs="*", default=[], help="folders of the constraints' and metrics' models"
    )
    evaluate.set_defaults(run=_evaluate)

    compare = _stage(commands, "compare", "collect a study's metrics, costs and examples")
    compare.add_argument("--results", type=Path, required=True, help="folder of the results")
    compare.set_defaults(run=_compare)

    report = commands.add_parser("report", help="write the report from comparisons")
    report.add_argument("--comparisons", type=Path, nargs="+", required=True, help="stores of comparisons")
    report.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    report.add_argument("--log", type=Path, help="file that the log is also written to")
    report.set_defaults(run=_report)


def _stage(
    commands: _SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary)
    parser.add_argument("--spec", required=True, help="the job's slice of the study, as JSON")
    parser.add_argument("--output", type=Path, required=True, help="the store or folder to write")
    parser.add_argument("--log", type=Path, help="file that the log is also written to")
    return parser


def _parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset", type=Path, nargs="+", required=True, help="parts of the dataset, in order"
    )


def _once(options: argparse.Namespace, write: Callable[[], None]) -> None:
    """Calls `write` under the lock of its store, unless the lock's former holder has written the store."""
    from plumbline.storage.lock import only_writer_of_store
    from plumbline.storage.store import is_written

    begun = time.time()
    with only_writer_of_store(options.output):
        if is_written(options.output, options.spec, since=begun):
            logger.info("%s: another process has written this store; it is kept.", options.output)
        else:
            write()


def _generate(options: argparse.Namespace) -> None:
    from plumbline.stages.generate import generate

    _once(options, lambda: generate(options.spec, part=options.part, output=options.output))


def _rehearse(options: argparse.Namespace) -> None:
    from plumbline.stages.rehearse import rehearse

    rehearse(options.spec, dataset=options.dataset, scale=options.scale, output=options.output)


def _train(options: argparse.Namespace) -> None:
    from plumbline.stages.train import train
    from plumbline.training._nodes import is_started_by_training

    if options.rehearsal is not None and not is_started_by_training():
        from plumbline.stages.rehearse import rehearse

        rehearse(options.studies, dataset=options.dataset, scale=options.scale, output=options.rehearsal)
    train(
        options.spec,
        seed=options.seed,
        dataset=options.dataset,
        output=options.output,
        models=options.models,
        initialise=options.initialise,
        arguments=options.arguments,
    )


def _tune(options: argparse.Namespace) -> None:
    from plumbline.stages.tune import tune

    tune(
        options.spec,
        seed=options.seed,
        dataset=options.dataset,
        model=options.model,
        output=options.output,
        measuring_models=options.measuring_models,
    )


def _sample(options: argparse.Namespace) -> None:
    from plumbline.stages.sample import sample
    from plumbline.stages.train import forget_trainings

    _once(
        options,
        lambda: sample(
            options.spec,
            seed=options.seed,
            part=options.part,
            dataset=options.dataset,
            model=options.model,
            output=options.output,
            constraint_models=options.constraint_models,
            tuning=next(iter(options.tuning), None),
        ),
    )
    forget_trainings([*options.model, *options.constraint_models])


def _evaluate(options: argparse.Namespace) -> None:
    from plumbline.stages.evaluate import evaluate

    _once(
        options,
        lambda: evaluate(
            options.spec,
            seed=options.seed,
            dataset=options.dataset,
            samples=options.samples,
            output=options.output,
            models=options.models,
        ),
    )


def _compare(options: argparse.Namespace) -> None:
    from plumbline.stages.compare import compare

    _once(options, lambda: compare(options.spec, results=options.results, output=options.output))


def _report(options: argparse.Namespace) -> None:
    from plumbline.reporting.page import write_page

    write_page(options.comparisons, options.output)

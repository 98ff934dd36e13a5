"""Runs a study in this process, for notebooks: the workflow's stages in sequence, with the same results."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from plumbline.fingerprints import CACHE, fingerprinted
from plumbline.plan import CHECKPOINT, CHECKPOINTS, OF_TRAINING, Plan
from plumbline.progress import draw_bar
from plumbline.results import StudyResults
from plumbline.spec import digest
from plumbline.storage.partial import replace_text
from plumbline.study import REAL, Study, load_study
from plumbline.study_file import Scale
from plumbline.workflow_files import path_of_study

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

logger = logging.getLogger("plumbline.run")

METADATA = "zarr.json"
"""The file of a store that is written last."""


@dataclass(frozen=True)
class Step:
    """One job of the workflow.

    Attributes:
        name: name of the job in the log.
        output: the store, file or model folder that it writes.
        depends_on: its slice, and the names of the data, models and steps that it reads.
        make: the function that runs it.
    """

    name: str
    output: Path
    depends_on: tuple[str, ...]
    make: Callable[[], None]

    def signature(self) -> str:
        """A digest of everything that the output depends on."""
        return digest("\n".join(self.depends_on))


def run(
    study: str | Path | Study,
    *,
    scale: Scale = "laptop",
    results: str | Path = "results",
    progress: bool = True,
) -> StudyResults:
    """Runs a study and returns its results. Outputs of earlier runs with the same settings are reused.

    The workflow runs the same stages with the same settings, in parallel and on clusters. The results agree.

    For example::

        results = plumbline.run("gaussian", scale="smoke")
        results.table(["sliced_wasserstein"])

    Args:
        study: name of a study of this folder's `config/studies` or of the library, its YAML file, or a study.
        scale: scale of the study. It is ignored if `study` is a `Study`, which already has a scale.
        results: the folder to write to.
        progress: whether to draw a bar with percent and the current step on standard error.

    Raises:
        StudyError: the study is invalid; the message names every key at fault.
    """
    if not isinstance(study, Study):
        study = load_study(path_of_study(study), scale)
    plan = Plan(fingerprinted(study, study.name, CACHE, logger), Path(results))
    made = _Made(plan.comparison().parent / ".in_process.json")
    steps = list(_steps(plan))
    for number, step in enumerate(steps, start=1):
        if not made.is_made(step):
            logger.info("%d of %d: %s", number, len(steps), step.name)
            if progress:
                draw_bar(number - 1, len(steps), f"step {number} of {len(steps)}: {step.name}")
            step.make()
            made.note(step)
    if progress:
        draw_bar(len(steps), len(steps), f"{plan.study.name} is complete")
    return StudyResults(plan.comparison().parent)


class _Made:
    """A record of the outputs that earlier runs wrote, with their signatures.

    Args:
        file: the JSON file of the record, in the folder of results.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.known: dict[str, list[str | int]] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}

    def is_made(self, step: Step) -> bool:
        """Whether the output exists, was made with the same settings, and has not been rewritten since."""
        if not step.output.suffix:
            # The folder of a model is named after everything that the model depends on.
            return all((step.output / name).exists() for name in OF_TRAINING)
        metadata = _written_last(step.output)
        return metadata.is_file() and self.known.get(str(step.output)) == [
            step.signature(),
            metadata.stat().st_mtime_ns,
        ]

    def note(self, step: Step) -> None:
        """Records that a step has written a store or a file."""
        if not step.output.suffix:
            return
        written = _written_last(step.output).stat().st_mtime_ns
        self.known[str(step.output)] = [step.signature(), written]
        replace_text(self.file, json.dumps(self.known))


def _written_last(output: Path) -> Path:
    """The file of an output that is written last: that of a store, or the output itself."""
    return output / METADATA if output.suffix == ".zarr" else output


def _steps(plan: Plan) -> Iterator[Step]:
    """The jobs of a study, each after the jobs that it depends on."""
    study, data = plan.study, plan.dataset_name()
    tuned: dict[str, str] = {}
    for part, output in enumerate(plan.dataset_parts()):
        yield Step(f"data, part {part}", output, (data, str(part)), _generate(plan, part, output))
    for seed in study.seeds:
        for name in TopologicalSorter({name: study.depends_on(name) for name in study.models}).static_order():
            folder = plan.model_folder(name, seed)
            yield Step(f"training of {name}, seed {seed}", folder, (str(folder),), _train(plan, name, seed))
        methods = [*study.methods, *plan.at_checkpoints()]
        if seed == study.seeds[0]:
            for name in plan.swept():
                models = [*study.methods[name].models(), *plan.tuning_models()]
                known = (plan.tune_slice(name), data, str(seed), *map(str, _folders(plan, models, seed)))
                step = Step(f"tuning of {name}", plan.tuning(name), known, _tune(plan, name))
                tuned[name] = step.signature()
                yield step
        drawn: dict[str, list[str]] = {REAL: []}
        for name in methods:
            constraint_models = study.constraint_models(plan.at_step(name)[0].sampler.constraint_names())
            read = [*plan.drawn_from(name, seed), *_folders(plan, constraint_models, seed)]
            choice = [tuned[path.stem] for path in plan.tuned_by(name)]
            known = (plan.sample_slice(name), data, str(seed), *map(str, read), *choice)
            drawn[name] = []
            for part, output in enumerate(plan.samples(name, seed)):
                make = _sample(plan, name, seed, part, output)
                step = Step(f"samples of {name}, seed {seed}, part {part}", output, (*known, str(part)), make)
                drawn[name].append(step.signature())
                yield step
        measuring = map(str, _folders(plan, plan.measuring_models(), seed))
        known = (plan.evaluate_slice(), data, str(seed), *measuring)
        for name in (REAL, *methods):
            what, output = f"metrics of {name}, seed {seed}", plan.metrics(name, seed)
            yield Step(what, output, (*known, name, *drawn[name]), _evaluate(plan, name, seed))
    models = [str(plan.model_folder(name, seed)) for name in study.models for seed in study.seeds]
    yield Step("comparison", plan.comparison(), (plan.compare_slice(), *models), _compare(plan))


def _generate(plan: Plan, part: int, output: Path) -> Callable[[], None]:
    from plumbline.stages.generate import generate

    return lambda: generate(plan.generate_slice(), part=part, output=output)


def _train(plan: Plan, name: str, seed: int) -> Callable[[], None]:
    from plumbline.stages.train import train

    start = plan.study.models[name].initialise
    return lambda: train(
        plan.train_slice(name),
        seed=seed,
        dataset=plan.dataset_parts(),
        output=plan.model_folder(name, seed),
        models=_folders(plan, plan.study.built_with(name), seed),
        initialise=None if start is None else plan.model_folder(start, seed),
    )


def _tune(plan: Plan, name: str) -> Callable[[], None]:
    from plumbline.stages.tune import tune

    seed = plan.study.seeds[0]
    return lambda: tune(
        plan.tune_slice(name),
        seed=seed,
        dataset=plan.dataset_parts(),
        model=_folders(plan, plan.study.methods[name].models(), seed),
        output=plan.tuning(name),
        measuring_models=_folders(plan, plan.tuning_models(), seed),
    )


def _sample(plan: Plan, name: str, seed: int, part: int, output: Path) -> Callable[[], None]:
    from plumbline.stages.sample import sample

    method, step = plan.at_step(name)
    folders = _folders(plan, method.models(), seed)
    if step is not None:
        folders = [folder / CHECKPOINTS / CHECKPOINT.format(step=step) for folder in folders]
    constraint_models = plan.study.constraint_models(method.sampler.constraint_names())
    return lambda: sample(
        plan.sample_slice(name),
        seed=seed,
        part=part,
        dataset=plan.dataset_parts(),
        model=folders,
        output=output,
        constraint_models=_folders(plan, constraint_models, seed),
        tuning=next(iter(plan.tuned_by(name)), None),
    )


def _evaluate(plan: Plan, name: str, seed: int) -> Callable[[], None]:
    from plumbline.stages.evaluate import evaluate

    return lambda: evaluate(
        plan.evaluate_slice(),
        seed=seed,
        dataset=plan.dataset_parts(),
        samples=plan.samples(name, seed),
        output=plan.metrics(name, seed),
        models=_folders(plan, plan.measuring_models(), seed),
    )


def _compare(plan: Plan) -> Callable[[], None]:
    from plumbline.stages.compare import compare

    return lambda: compare(plan.compare_slice(), results=plan.results, output=plan.comparison())


def _folders(plan: Plan, models: Iterable[str], seed: int) -> list[Path]:
    return [plan.model_folder(name, seed) for name in models]

"""rehearse: runs the studies of a dataset once, at small size, before anything is trained.

On the first samples of each split, every constraint and model is built, each model takes one training step,
each method draws a few samples, and each metric evaluates them. A setting that cannot work fails here, with
the path of its key, and not hours later. The weights are untrained, so the results of a rehearsal say nothing
about a method.

The file of a rehearsal records the digests of the studies that were rehearsed. A training checks whether the
current versions of its studies are among them and rehearses those that are not. Snakemake therefore never
repeats a training because of a rehearsal, and no training starts without one.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.datasets import SPLITS, DatasetSpec
from plumbline.method import MethodSpec
from plumbline.metrics import EvaluationContext
from plumbline.models import ModelSpec, Preparing, TakesOverWeights
from plumbline.models._spaces import batch_of
from plumbline.plan import Plan
from plumbline.samplers import SamplingTask
from plumbline.samplers._lengths import shortened
from plumbline.spec import digest
from plumbline.stages.sample import as_dataset, model_of, observation_of
from plumbline.stages.trained import (
    NotInBlocksError,
    build_constraints,
    build_model,
    example_of,
    in_blocks,
    require_fit,
)
from plumbline.stages.tune import FAILURES, column_of
from plumbline.storage.lock import only_writer
from plumbline.storage.partial import partial_of
from plumbline.storage.store import open_parts, replace_durably, select_split
from plumbline.study import Scale, Study
from plumbline.training import TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.log import quiet
from plumbline.training.loop import train
from plumbline.training.streamed import GB
from plumbline.tuning import shown

logger = logging.getLogger("plumbline.rehearse")

TRAINED_ON = 1024
"""Largest number of train samples that models are fitted to."""
TRAINED_BYTES = 2**26
"""Largest size of these samples in bytes."""
CASES = 8
"""Number of test samples that methods draw for."""
BATCH = 2
"""Number of samples in the one batch that a model is trained on."""
MOST_STEPS = 2
"""Largest value of the keys that say how long a sampler runs, such as `steps`."""


class RehearsalError(RuntimeError):
    """A part of a study cannot work with its dataset."""


def rehearse(specs: Sequence[str], *, dataset: Sequence[Path], scale: Scale, output: Path) -> None:
    """Rehearses those studies of a dataset whose current versions have not been rehearsed yet.

    Args:
        specs: the studies as JSON.
        dataset: the parts of their dataset.
        scale: the scale of the studies. At `paper`, the real jobs may run on GPUs that this job does not
            have.
        output: the file that records what has been rehearsed, in its own folder; written if nothing fails.

    Raises:
        RehearsalError: something failed; the message names the study and the path of the key of each fault.
    """
    with only_writer(output.parent):
        known = _known(output)
        fresh = {digest(spec): spec for spec in specs if digest(spec) not in known}
        if not fresh:
            return
        started = time.perf_counter()
        opened = open_parts(dataset)
        few = _few(opened)
        trained_on = int((opened["split"].values == "train").sum())
        faults: list[str] = []
        rehearsed: dict[str, nn.Module] = {}
        for name, spec in fresh.items():
            study = Study.model_validate_json(spec)
            known[name] = study.name
            faults += Rehearsal(study, few, scale, rehearsed, trained_on).run()
        if faults:
            listing = "\n".join(f"  - {fault}" for fault in faults)
            raise RehearsalError(f"these settings cannot work with the data:\n{listing}")
        logger.info("rehearsed %d models in %.1f s.", len(rehearsed), time.perf_counter() - started)
        partial = partial_of(output)
        partial.write_text(json.dumps(known, indent=2))
        replace_durably(partial, output)


def _known(output: Path) -> dict[str, str]:
    """The names of the rehearsed studies, by the digest of the version that was rehearsed."""
    try:
        known = json.loads(output.read_text())
    except (OSError, ValueError):
        return {}
    return dict(known) if isinstance(known, dict) else {}


class Rehearsal:
    """Rehearses one study on the first samples of its dataset.

    Args:
        study: the study.
        few: the first samples of each split.
        scale: the scale of the study.
        rehearsed: models that other studies have rehearsed, by the names of their folders; this study adds
            its own.
        trained_on: number of samples of the whole train split; None for those in `few`.
    """

    def __init__(
        self,
        study: Study,
        few: xr.Dataset,
        scale: Scale,
        rehearsed: dict[str, nn.Module],
        trained_on: int | None = None,
    ) -> None:
        self.study, self.few, self.scale, self.rehearsed = study, few, scale, rehearsed
        self.trained_on = trained_on or int((few["split"].values == "train").sum())
        self.plan = Plan(study)
        self.example = example_of(few)
        self.test = select_split(few, "test").isel(sample=slice(0, CASES))
        self.models: dict[str, nn.Module] = {}
        self.faults: list[str] = []

    def run(self) -> list[str]:
        """Rehearses everything except what depends on something faulty, and returns one line per fault."""
        sound = {
            name
            for name in self.study.constraints
            if self._try(f"constraints.{name}", self._constraint, name)
        }
        order = TopologicalSorter({name: self.study.depends_on(name) for name in self.study.models})
        for name in order.static_order():
            spec = self.study.models[name]
            if set(self.study.depends_on(name)) <= set(self.models) and set(spec.constraint_names()) <= sound:
                self._try(f"models.{name}", self._model, name)
        sound -= {n for n in sound if not self._try(f"constraints.{n}", self._distance, n)}
        draws = {"real": self.test}
        for name, method in self.study.methods.items():
            if set(method.models()) <= set(self.models) and set(method.sampler.constraint_names()) <= sound:
                self._draws(name, draws)
        for name, metric in self.study.metrics.items():
            if set(metric.depends_on()) <= set(self.models):
                for drawn in draws.values():
                    if not self._try(f"metrics.{name}", self._evaluate, name, drawn, sound):
                        break
        if self.plan.swept():
            self._try("tuning.metric", self._column, draws, sound)
        return self.faults

    def _try(self, where: str, what: Callable[..., object], *arguments: object) -> bool:
        """Calls a function, records an error with the path of the key, and returns whether it succeeded."""
        try:
            what(*arguments)
        except (
            Exception
        ) as error:  # a user's settings and data can cause any error; all of them are reported together
            logger.debug("%s: %s", self.study.name, where, exc_info=True)
            text = " ".join(str(error).split()) or "no further reason given"
            self.faults.append(f"{self.study.name}: {where}: {text} ({type(error).__name__})")
            return False
        return True

    def _constraint(self, name: str) -> None:
        build_constraints(self._specs([name]), self.example, {})

    def _distance(self, name: str) -> None:
        """Evaluates a constraint on real samples."""
        if set(self.study.constraints[name].depends_on()) <= set(self.models):
            constraint = self._bound([name], self.test)[name]
            constraint.distance(torch.as_tensor(self.test["state"].values))

    def _model(self, name: str) -> None:
        """Builds a model, prepares it, and takes one training step."""
        known = self.plan.trained_name(name)
        if known not in self.rehearsed:
            self.rehearsed[known] = self._trained(name)
        self.models[name] = self.rehearsed[known]

    def _trained(self, name: str) -> nn.Module:
        spec = self.study.models[name]
        values = json.loads(self.plan.train_slice(name))
        below = {n: self.models[n] for n in [*values["models"], *values["constraint_models"]]}
        torch.manual_seed(0)
        model = build_model(values, self.example, below)
        data = batch_of(select_split(self.few, "train") if spec.dataset is None else self._own(spec.dataset))
        if self._fits(spec, data):
            cast("Preparing", model).prepare(data)
        else:
            in_blocks(model).prepare_in_blocks([data])
        if spec.initialise is not None:
            weights = self.models[spec.initialise].state_dict()
            if isinstance(model, TakesOverWeights):
                model.start_from(weights)
            else:
                require_fit(weights, model, Path(f"models.{spec.initialise}"))
                model.load_state_dict(weights)
        if spec.training.steps:
            with tempfile.TemporaryDirectory() as scratch, quiet():
                trained = train(
                    model,
                    InMemory(data),
                    self._one_step(spec.training),
                    seed=0,
                    folder=scratch,
                    identity="",
                )
        else:
            trained = model
        return trained.eval().requires_grad_(False).cpu()

    def _fits(self, spec: ModelSpec, data: dict[str, Tensor]) -> bool:
        """Whether the training holds its samples in memory.

        Raises:
            NotInBlocksError: they do not fit, and they are not read from disk but drawn.
        """
        drawn, training = spec.dataset, spec.training
        count = self.trained_on if drawn is None else drawn.splits.train
        read = min(count, training.samples or count) if drawn is None else count
        size = read * sum(tensor[:1].nbytes for tensor in data.values())
        memory = self.study.memory
        if size <= memory * GB:
            return True
        if drawn is not None:
            raise NotInBlocksError(
                f"`dataset`: its train split has {size / GB:.3g} GB, more than `memory` ({memory:g} GB), and "
                "a dataset of a model's own is drawn into memory: raise `memory`, or lower "
                "`dataset.splits.train`."
            )
        return False

    def _own(self, dataset: DatasetSpec) -> xr.Dataset:
        """The first training samples of a model's own dataset."""
        splits = dataset.splits.names()
        chosen = np.flatnonzero(splits == "train")[:CASES]
        drawn = dataset.draw(chosen, splits[chosen])
        shape = self.example["state"].shape[1:]
        if drawn["state"].shape[1:] != shape:
            raise ValueError(
                f"`dataset`: `{dataset.kind}` has samples of shape {drawn['state'].shape[1:]}, and those of "
                f"the study have the shape {shape}"
            )
        return drawn

    def _one_step(self, training: TrainingSpec) -> TrainingSpec:
        short = training.shortened(steps=1, batch=BATCH)
        if self.scale == "paper" and not torch.cuda.is_available():
            return short.model_copy(update={"accelerator": "cpu", "precision": "32-true", "compile": False})
        return short

    def _draws(self, name: str, draws: dict[str, xr.Dataset]) -> None:
        """Draws by a method, or by each candidate of its sweep; the first draw is kept."""
        method = self.study.methods[name]
        if not method.sweep:
            self._try(f"methods.{name}", self._draw, method, name, draws)
        for values in self.study.candidates(name):
            where = f"methods.{name}.sweep, with {shown(values)}"
            self._try(where, self._draw, method.chosen(values), name, draws, FAILURES)

    def _draw(
        self,
        method: MethodSpec,
        name: str,
        draws: dict[str, xr.Dataset],
        may_fail: tuple[type[Exception], ...] = (),
    ) -> None:
        """Draws by a method; numerical errors by which a candidate loses in its tuning are no faults."""
        try:
            drawn = self._drawn(method)
        except may_fail:
            return
        draws.setdefault(name, drawn)

    def _drawn(self, method: MethodSpec) -> xr.Dataset:
        members = [self.models[member] for member in method.models()]
        observation = self.study.observation
        task = SamplingTask(batch_of(self.test), self._bound(method.sampler.constraint_names(), self.test))
        if observation is not None:
            measured = observation_of(observation, self.example).of(
                task.batch["state"], self.test["sample"].values
            )
            task = replace(task, observation=measured)
        torch.manual_seed(0)
        seed = self.study.seeds[0]
        drawn = shortened(method.sampler, MOST_STEPS).sample(model_of(members), replace(task, seed=seed))
        state = drawn.state
        if state.shape != self.test["state"].shape:
            raise ValueError(
                f"draws samples of shape {tuple(state.shape)}, expected {self.test['state'].shape}"
            )
        return as_dataset(drawn.by_name(), self.test).assign(case=("sample", np.arange(len(state))))

    def _column(self, draws: dict[str, xr.Dataset], sound: set[str]) -> None:
        """Checks that the metric to tune by has the column to choose by."""
        tuning = self.study.tuning
        drawn = [draws[name] for name in self.plan.swept() if name in draws]
        if tuning is not None and set(self.study.metrics[tuning.name()].depends_on()) <= set(self.models):
            for one in [*drawn, draws["real"]]:
                found = self._evaluate(tuning.name(), one, sound)
                if found is not None:
                    column_of(found, tuning)
                    return

    def _evaluate(self, name: str, drawn: xr.Dataset, sound: set[str]) -> xr.Dataset | None:
        if not np.isfinite(drawn["state"].values).all():
            return None  # an untrained model may draw values that no metric can evaluate
        metric = self.study.metrics[name]
        measuring = {
            model: self.models[model] for model in self.plan.measuring_models() if model in self.models
        }
        constraints = self._bound(
            [n for n in sound if set(self.study.constraints[n].depends_on()) <= set(self.models)], drawn
        )
        return metric.evaluate(drawn, self.few, EvaluationContext(constraints, measuring))

    def _specs(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: self.study.constraints[name].model_dump(mode="json") for name in names}

    def _bound(self, names: Sequence[str], samples: xr.Dataset) -> dict[str, Constraint]:
        built = build_constraints(self._specs(names), self.example, self.models)
        return {name: constraint.bind(samples) for name, constraint in built.items()}


def _few(opened: xr.Dataset) -> xr.Dataset:
    """Loads the first samples of each split."""
    splits = opened["split"].values
    sample_bytes = max(1, int(np.prod(opened["state"].shape[1:])) * opened["state"].dtype.itemsize)
    most = {"train": int(np.clip(TRAINED_BYTES // sample_bytes, BATCH, TRAINED_ON))}
    chosen = np.concatenate([np.flatnonzero(splits == split)[: most.get(split, CASES)] for split in SPLITS])
    return opened.isel(sample=np.sort(chosen)).load()

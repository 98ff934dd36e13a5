"""The work of training and sampling a study's models."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.estimates import Work
from plumbline.estimation._counts import Count, Fake, count_real
from plumbline.estimation._meter import Meter
from plumbline.method import MethodSpec
from plumbline.models import ModelSpec, Preparing
from plumbline.models._spaces import batch_of
from plumbline.plan import Plan
from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask
from plumbline.samplers._lengths import lengths, with_lengths
from plumbline.stages.sample import model_of, observation_of
from plumbline.stages.trained import build_constraints, build_model
from plumbline.training import Lengthening, TrainingSpec
from plumbline.training.feed import InMemory
from plumbline.training.log import quiet
from plumbline.training.loop import train

logger = logging.getLogger("plumbline.estimate")

FEW_STEPS, MORE_STEPS = 1, 3
"""Optimiser steps of the two short trainings whose difference is the work of two steps."""
NOISE = 0.05
"""Standard deviation of the noise of samples to be projected, over that of the data."""


@dataclass(frozen=True)
class TrainingCount:
    """What a training does.

    Attributes:
        prepare: the fits before the first step.
        step: one optimiser step.
        peak: the larger memory of the two, in bytes, without data and parameters.
        parameters: the number of trained parameters.
        size: bytes of all parameters and buffers.
        real: whether it was counted on few real samples.
    """

    prepare: Work
    step: Work
    peak: float
    parameters: int
    size: float
    real: bool


class Models:
    """The models of a study, with fake tensors where possible and with real ones where necessary.

    Args:
        plan: the plan of the study.
        few: the first samples of its dataset.
    """

    def __init__(self, plan: Plan, few: xr.Dataset) -> None:
        self.plan, self.study, self.few = plan, plan.study, few
        self.example = few.isel(sample=slice(0, 1))
        self.fake = Fake()
        self._fakes: dict[str, nn.Module] = {}
        self._reals: dict[str, nn.Module] = {}

    # Training

    def training(self, name: str) -> TrainingCount:
        """Counts the training of a model.

        Raises:
            Exception: the model cannot be built, or neither fake nor real samples can be trained on.
        """
        spec = self.study.models[name]
        few = batch_of(self._own_samples(spec))
        samples = spec.training.samples or (spec.dataset or self.study.dataset).splits.train
        batch = min(samples, spec.training.batch)
        try:
            model = self._fake_model(name)
            data = self.fake.tensors(few, samples)
            with _staying(model):
                prepare = self.fake.count(lambda: cast("Preparing", model).prepare(data))

            def trained(steps: int) -> Count:
                return self.fake.count(lambda: _short_training(model, data, spec.training, steps))

            step, real = _one_step(trained) if spec.training.steps else Count(), False
        except Exception:
            logger.debug("%s: real samples", name, exc_info=True)
            model = self._real_model(name)
            # Labels and the like must all occur, so it is prepared with all of the first samples.
            with Meter() as meter:
                cast("Preparing", model).prepare(few)
            prepare = Count(meter.work.times(samples / len(few["state"])), meter.peak)

            def trained_really(steps: int) -> Count:
                return count_real(
                    lambda n: _short_training(model, _first(few, n), spec.training, steps, batch=n), batch
                )

            step, real = _one_step(trained_really) if spec.training.steps else Count(), True
        tensors = [*model.parameters(), *model.buffers()]
        size = float(sum(t.numel() * t.element_size() for t in tensors))
        # The moving average reads the weights, and reads and writes their averages, in one operation.
        average = Work(operations=1, bytes=3 * size) if spec.training.ema else Work()
        return TrainingCount(
            prepare.work,
            step.work.plus(average),
            max(prepare.peak, step.peak + (size if spec.training.ema else 0.0)),
            sum(p.numel() for p in model.parameters() if p.requires_grad),
            size,
            real,
        )

    def _own_samples(self, spec: ModelSpec) -> xr.Dataset:
        if spec.dataset is None:
            return self.few
        count = min(self.few.sizes["sample"], spec.dataset.splits.train)
        drawn = spec.dataset.draw(np.arange(count), spec.dataset.splits.names()[:count])
        return drawn.assign_coords(sample=np.arange(count))

    def _fake_model(self, name: str) -> nn.Module:
        if name not in self._fakes:
            values = json.loads(self.plan.train_slice(name))
            names = [*values["models"], *values["constraint_models"]]
            below = {n: self._fake_model(n).eval().requires_grad_(False) for n in names}
            self._fakes[name] = self.fake.take_values(build_model(values, self.example, below))
        return self._fakes[name]

    def _real_model(self, name: str) -> nn.Module:
        """A model that is built on the first samples, as are those below it."""
        if name not in self._reals:
            values = json.loads(self.plan.train_slice(name))
            names = [*values["models"], *values["constraint_models"]]
            below = {n: self._real_model(n).eval().requires_grad_(False) for n in names}
            torch.manual_seed(0)
            self._reals[name] = build_model(values, self.example, below)
            cast("Preparing", self._reals[name]).prepare(batch_of(self._own_samples(self.study.models[name])))
        return self._reals[name]

    # Sampling

    def sampling(self, method: MethodSpec, count: int) -> tuple[Count, bool]:
        """Counts the drawing of a batch of samples.

        Args:
            method: the method.
            count: the number of samples in the batch.

        Returns:
            The count, and whether it was made on few real samples.

        Raises:
            Exception: the method can draw neither fake nor real samples.
        """
        try:
            members = [self._fake_model(name).eval().requires_grad_(False) for name in method.models()]
            known = self.few.isel(sample=np.arange(count) % self.few.sizes["sample"])
            bound = self._bound(method, known, self._fake_model)
            batch = self.fake.tensors(batch_of(self.few), count)

            def drawn(sampler: SamplerSpec) -> Count:
                return self.fake.count(lambda: self._draw(sampler, members, known, batch, bound))

            found, real = _full_length(method.sampler, drawn), False
        except Exception:
            logger.debug("%s: real samples", method.sampler.kind, exc_info=True)
            reals = [self._real_model(name).eval().requires_grad_(False) for name in method.models()]

            def drawn_really(sampler: SamplerSpec) -> Count:
                return count_real(lambda n: self._draw_few(method, sampler, reals, n), count)

            found, real = _full_length(method.sampler, drawn_really), True
        finished = count_real(lambda n: self._finish(method, n), count)
        return Count(found.work.plus(finished.work), max(found.peak, finished.peak), found.evaluations), real

    def _draw_few(self, method: MethodSpec, sampler: SamplerSpec, members: list[nn.Module], n: int) -> float:
        known = self.few.isel(sample=slice(0, n))
        return self._draw(
            sampler, members, known, batch_of(known), self._bound(method, known, self._real_model)
        )

    def _draw(
        self,
        sampler: SamplerSpec,
        members: list[nn.Module],
        known: xr.Dataset,
        batch: dict[str, Tensor],
        bound: dict[str, Constraint],
    ) -> float:
        drawn = sampler.draw(model_of(members), self._task(known, batch, bound))
        return drawn.costs.network_evaluations

    def _finish(self, method: MethodSpec, n: int) -> None:
        """Finishes samples like those of a good model: real ones with a little noise.

        The number of iterations of a projection depends on the values.
        """
        known = self.few.isel(sample=slice(0, n))
        bound = self._bound(method, known, self._real_model)
        task = self._task(known, batch_of(known), bound)
        state = torch.as_tensor(known["state"].values).double()
        state = state + NOISE * state.std() * torch.randn_like(state)
        with torch.no_grad():
            finished = method.sampler.finish(Samples(state, {}, Costs()), task)
            for constraint in bound.values():
                constraint.distance(finished.state)

    def _task(
        self, known: xr.Dataset, batch: dict[str, Tensor], bound: dict[str, Constraint]
    ) -> SamplingTask:
        task = SamplingTask(batch, bound)
        if self.study.observation is None:
            return task
        observing = observation_of(self.study.observation, self.example)
        return replace(task, observation=observing.of(batch["state"], known["sample"].values))

    def _bound(
        self, method: MethodSpec, known: xr.Dataset, model: Callable[[str], nn.Module]
    ) -> dict[str, Constraint]:
        names = method.sampler.constraint_names()
        models = {name: model(name) for name in self.study.constraint_models(names)}
        specs = {name: self.study.constraints[name].model_dump(mode="json") for name in names}
        built = build_constraints(specs, self.example, models)
        return {name: constraint.bind(known) for name, constraint in built.items()}


def _first(data: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: tensor[:count] for name, tensor in data.items()}


def _one_step(trained: Callable[[int], Count]) -> Count:
    """The work of one step, from the difference of two short trainings, and the larger peak of both."""
    few, more = trained(FEW_STEPS), trained(MORE_STEPS)
    each = more.work.plus(few.work.times(-1)).times(1 / (MORE_STEPS - FEW_STEPS))
    return Count(each, max(few.peak, more.peak))


def _short_training(
    model: nn.Module, data: dict[str, Tensor], training: TrainingSpec, steps: int, batch: int | None = None
) -> None:
    """Trains a model for a few steps with the real loop: the last ones, if steps become more costly."""
    if isinstance(model, Lengthening):
        model.go_to(training.steps)
    short = training.shortened(steps=steps, batch=batch or training.batch).model_copy(
        update={
            "save_every": 10**9,
            "log_every": 10**9,
            "ema": 0.0,  # a model cannot be copied among fake tensors; `training` adds the average
            "compile": False,
            "accelerator": "cpu",
            "precision": "64-true" if training.precision == "64-true" else "32-true",
        }
    )
    # Values are not written: fake tensors have none.
    nothing = torch.serialization.skip_data(materialize_fake_tensors=True)
    with tempfile.TemporaryDirectory() as folder, quiet(), _staying(model), nothing:
        train(model, InMemory(data), short, seed=0, folder=folder, identity="")


@contextmanager
def _staying(model: nn.Module) -> Iterator[None]:
    """Makes `model.to(device)` do nothing: fake parameters cannot be replaced as it does."""
    vars(model)["to"] = lambda *_: model
    try:
        yield
    finally:
        del vars(model)["to"]


def _full_length(sampler: SamplerSpec, drawn: Callable[[SamplerSpec], Count]) -> Count:
    """The count of a whole sampling, extrapolated from short ones.

    The cost grows linearly with each of the keys that say how long it runs, and their factors multiply: eight
    draws of twenty steps each cost four times as much as two.

    Args:
        sampler: the sampler.
        drawn: counts the sampling by a sampler.
    """
    found = lengths(sampler)
    short = {path: length.least for path, length in found.items()}
    base = drawn(with_lengths(sampler, short))
    total = base
    for path, (smallest, value) in found.items():
        if value == smallest:
            continue
        more = drawn(with_lengths(sampler, {**short, path: smallest + 1}))
        whole = base.combined(more, value - smallest)
        factors = [w / b if b else 1.0 for w, b in zip(whole.work, base.work, strict=True)]
        work = Work(*(t * f for t, f in zip(total.work, factors, strict=True)))
        evaluations = total.evaluations * (whole.evaluations / base.evaluations if base.evaluations else 1.0)
        total = Count(work, max(total.peak, more.peak), evaluations)
    return total

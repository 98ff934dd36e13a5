"""Bundled studies at smoke scale, on few samples and with few steps, on any device.

`prepared` draws the data and builds and fits all models, on the CPU. `Run` computes on a device everything
that a study computes: the residuals and projections of its constraints, a training step of each model, the
samples of each method, and its metrics. Two runs of one study draw the same random numbers, so that their
results can be compared.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from plumbline._capabilities import is_provided
from plumbline.constraints import (
    Constraint,
    GaussianConditioning,
    LinearEqualityConstraint,
    ProjectableConstraint,
    ReportingConstraint,
)
from plumbline.datasets import DatasetSpec
from plumbline.linalg.spectral import SpectralCovariance
from plumbline.metrics import EvaluationContext
from plumbline.models._spaces import batch_of
from plumbline.plan import Plan
from plumbline.samplers import SamplingTask
from plumbline.samplers._lengths import shortened
from plumbline.stages.rehearse import MOST_STEPS
from plumbline.stages.sample import as_dataset, model_of, observation_of
from plumbline.stages.trained import build_constraints, build_model, example_of
from plumbline.storage.store import select_split
from plumbline.study import Study, load_study

STUDIES = Path(__file__).parents[2] / "config" / "studies"
NAMES = [
    *sorted(path.stem for path in STUDIES.glob("*.yaml")),
    "exact_conditionals/bent_mixture",
    "exact_conditionals/truncated_gaussian",
]
# Number of samples of each split that are drawn.
DRAWN = {"train": 64, "validation": 12, "test": 12}
# Number of samples in a batch that a model is trained on, and that methods draw for.
BATCH, CASES = 4, 6
# Number of methods whose samples are evaluated.
EVALUATED = 2
# Metrics of NumPy arrays, which compute on the CPU wherever a study runs.
OF_ARRAYS = {
    "assimilation", "conditional_error", "conditional_gaussian", "energy_spectrum", "error_by_group",
    "gradient_quality", "identity", "kernel_alignment", "log_density", "marginal_wasserstein", "memorisation",
    "mmd", "portfolio_performance", "precision_recall", "sliced_wasserstein",
}  # fmt: skip


@cache
def first_studies() -> dict[tuple[str, ...], str]:
    """The first study that has each model and each method, by what the model or the method depends on."""
    found: dict[tuple[str, ...], str] = {}
    for name in NAMES:
        study = load_study(STUDIES / f"{name}.yaml", "smoke")
        parts = [(f"models.{m}", m) for m in study.models] + [(f"methods.{m}", m) for m in study.methods]
        for part, of in parts:
            found.setdefault(depends_on(study, part, of), name)
    return found


def depends_on(study: Study, part: str, name: str) -> tuple[str, ...]:
    """What a model or a method of a study depends on."""
    plan = Plan(study)
    if part.startswith("models."):
        return (plan.trained_name(name), plan.dataset_name())
    trained = (plan.trained_name(model) for model in study.methods[name].models())
    return (plan.sample_slice(name), *trained, plan.dataset_name())


@dataclass(frozen=True)
class Prepared:
    """A study with its data and its fitted models, on the CPU.

    Attributes:
        study: the study.
        data: a few samples of each split.
        models: the fitted models by name, each after those that it depends on.
        batches: the batch that each model is trained on.
        draws: the samples that metrics evaluate.
    """

    study: Study
    data: xr.Dataset
    models: dict[str, nn.Module]
    batches: dict[str, dict[str, Tensor]]
    draws: dict[str, xr.Dataset] = field(default_factory=dict)

    def keep_draws(self, run: Run) -> None:
        """Takes real samples and those of a run's first methods as what metrics evaluate."""
        self.draws["real"] = self.test
        first = [part for part in run.results if part.startswith("methods.")][:EVALUATED]
        for part in first:
            drawn = as_dataset(run.results[part], self.test)
            if np.isfinite(drawn["state"].values).all():
                self.draws[part] = drawn.assign(case=("sample", np.arange(CASES)))

    @property
    def test(self) -> xr.Dataset:
        """The test samples that methods draw for."""
        return select_split(self.data, "test").isel(sample=slice(0, CASES))


@lru_cache(maxsize=1)
def prepared(name: str) -> Prepared:
    """Draws the data of a study and builds and fits its models.

    Raises:
        DataFileError: the study reads published files that are not there.
    """
    study = load_study(STUDIES / f"{name}.yaml", "smoke")
    data = drawn(study.dataset, DRAWN)
    plan, example = Plan(study), example_of(data)
    train = batch_of(select_split(data, "train"))
    models: dict[str, nn.Module] = {}
    batches: dict[str, dict[str, Tensor]] = {}
    for model in TopologicalSorter({m: study.depends_on(m) for m in study.models}).static_order():
        spec, values = study.models[model], json.loads(plan.train_slice(model))
        below = {n: models[n] for n in [*values["models"], *values["constraint_models"]]}
        given = train
        if spec.dataset is not None:
            given = batch_of(drawn(spec.dataset, {"train": DRAWN["train"]}))
        torch.manual_seed(0)
        built = build_model(values, example, below)
        fitted = dict(given)
        cast("Any", built).prepare(fitted)
        models[model] = built.eval()
        batches[model] = {key: tensor[:BATCH] for key, tensor in fitted.items()}
    return Prepared(study, data, models, batches)


def drawn(dataset: DatasetSpec, counts: dict[str, int]) -> xr.Dataset:
    """The first samples of some splits of a dataset."""
    names = dataset.splits.names()
    parts = []
    for split, count in counts.items():
        first = np.flatnonzero(names == split)[:count]
        part = dataset.draw(first, names[first])
        own = {"sample": ("sample", first), "split": ("sample", names[first].astype("U10"))}
        parts.append(part.assign_coords(own))
    return xr.concat(
        parts, "sample", data_vars="minimal", coords="minimal", compat="override", join="override"
    )


@dataclass
class Run:
    """What a study computes on a device.

    Attributes:
        of: the study.
        device: the device.
        watched: a context around each part that is computed, given the part's name.
        results: the results of each part, on the CPU.
        errors: the error of each part that failed.
    """

    of: Prepared
    device: torch.device
    watched: Callable[[str], Any]
    results: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.models = copy.deepcopy(self.of.models)
        for model in self.models.values():
            model.to(self.device)

    def all(self) -> None:
        """Computes everything, except models and methods that an earlier study has too."""
        for name in self.of.study.constraints:
            self._part(f"constraints.{name}", self._constraint, name)
        for name in self.of.study.methods:
            if self._is_new(f"methods.{name}", name):
                self._part(f"methods.{name}", self._draw, name)
        for name in self.of.models:
            if self.of.study.models[name].training.steps and self._is_new(f"models.{name}", name):
                self._part(f"models.{name}", self._training_step, name)
        if not self.of.draws:
            self.of.keep_draws(self)
        for name, metric in self.of.study.metrics.items():
            if metric.kind not in OF_ARRAYS:
                self._part(f"metrics.{name}", self._evaluate, name)

    def _is_new(self, part: str, name: str) -> bool:
        """Whether no earlier study has this model or method too."""
        return first_studies()[depends_on(self.of.study, part, name)] == self.of.study.name

    def _part(self, part: str, what: Callable[[str, str], dict[str, Tensor]], name: str) -> None:
        torch.manual_seed(0)
        try:
            found = what(part, name)
        except Exception as error:
            self.errors[part] = error
            return
        self.results[part] = {key: value.detach().cpu() for key, value in found.items()}

    def _constraint(self, part: str, name: str) -> dict[str, Tensor]:
        test = self.of.test
        bound = self._bound([name], test)[name].to(self.device)
        state = torch.as_tensor(test["state"].values)
        scale = 0.05 * state.std()
        x = (state + scale * torch.randn_like(state)).to(self.device)
        which = torch.arange(2, device=self.device)
        with self.watched(part), torch.no_grad():
            found = {
                "residual": bound.residual(x),
                "distance": bound.distance(x),
                "violation": bound.violation(x),
                "satisfied": bound.satisfied(x),
                "selected": bound.select(which).residual(x[:2]),
            }
            if isinstance(bound, ProjectableConstraint):
                found["projected"] = bound.project(x)
            if isinstance(bound, ReportingConstraint):
                report = bound.project_with_report(x)
                found |= report.details()
            if is_provided(GaussianConditioning, self.of.study.constraints[name].provides()):
                zeros = torch.zeros_like(x[0])
                prior = SpectralCovariance.isotropic(zeros.double().sum() + float(scale) ** 2, zeros.numel())
                given = bound.conditioner(zeros, zeros + 1)(x.flatten(1).double(), prior)
                found["conditioned"] = given.mean
            if isinstance(bound, LinearEqualityConstraint):
                found["completed"] = bound.complete(x)
        return found

    def _training_step(self, part: str, name: str) -> dict[str, Tensor]:
        model = cast("Any", copy.deepcopy(self.models[name])).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        batch = {key: tensor.to(self.device) for key, tensor in self.of.batches[name].items()}
        fused = torch.optim.AdamW(
            parameters or [nn.Parameter(torch.zeros(0, device=self.device))], fused=True
        )
        loss, terms = model.loss(batch)
        if loss.requires_grad:
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        found = {"loss": loss, **terms}
        found |= {
            f"gradient of {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
        }
        fused.step()
        self._after_step(model, terms)
        found |= {f"after the step: {n}": buffer.clone() for n, buffer in model.named_buffers()}
        with self.watched(part):  # the first step may wait, for what is made or moved once
            fused.zero_grad()
            again, terms = model.loss(batch)
            if again.requires_grad:
                again.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            fused.step()
            self._after_step(model, terms)
        assert loss.device == self.device, f"the loss is on {loss.device}"
        astray = [key for key, term in terms.items() if term.device != self.device]
        assert not astray, f"terms on another device: {', '.join(astray)}"
        return found

    @staticmethod
    def _after_step(model: Any, terms: dict[str, Tensor]) -> None:
        if hasattr(model, "after_step"):
            model.after_step(terms)

    def _draw(self, part: str, name: str) -> dict[str, Tensor]:
        method, test = self.of.study.methods[name], self.of.test
        sampler = shortened(method.sampler, MOST_STEPS)
        observation = self.of.study.observation
        task = SamplingTask(batch_of(test), self._bound(sampler.constraint_names(), test), device=self.device)
        if observation is not None:
            measured = observation_of(observation, test).of(task.batch["state"], test["sample"].values)
            task = replace(task, observation=measured)
        members = [self.models[m] for m in method.models()]
        with self.watched(part):
            drawn = sampler.sample(model_of(members), task)
        astray = [n for n, value in drawn.by_name().items() if value.device != self.device]
        assert not astray, f"results on another device: {', '.join(astray)}"
        return drawn.by_name()

    def _evaluate(self, part: str, name: str) -> dict[str, Tensor]:
        """Evaluates real samples, and those of the first methods, by one metric."""
        found: dict[str, Tensor] = {}
        for drawn, samples in self.of.draws.items():
            constraints = self._bound(list(self.of.study.constraints), samples)
            by = EvaluationContext(constraints, self.models, self.device)
            values = self.of.study.metrics[name].evaluate(samples, self.of.data, by)
            found |= {
                f"{variable} of {drawn}": torch.as_tensor(np.asarray(one.values))
                for variable, one in values.data_vars.items()
                if one.dtype.kind in "fiub"
            }
        return found

    def _bound(self, names: list[str], samples: xr.Dataset) -> dict[str, Constraint]:
        specs = {name: self.of.study.constraints[name].model_dump(mode="json") for name in names}
        built = build_constraints(specs, example_of(self.of.data), self.models)
        return {name: constraint.bind(samples) for name, constraint in built.items()}

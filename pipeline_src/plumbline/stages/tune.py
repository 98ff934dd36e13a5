"""tune: draws samples by each candidate of a method's sweep for the validation split, and records the best.

The validation split takes the place of the test split: samples are drawn for its cases, and metrics compare
them with its states. No metric receives the test split.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from plumbline import devices
from plumbline.constraints import Constraint
from plumbline.method import MethodSpec, SampleCounts
from plumbline.metrics import EvaluationContext, MetricSpec
from plumbline.metrics._splits import with_training_scale
from plumbline.observations import ObservationSpec
from plumbline.spec import of_kind
from plumbline.stages.evaluate import load_for_metrics
from plumbline.stages.sample import DivergedSamplingError, draw_in_batches, known_batches
from plumbline.stages.trained import build_constraints, example_of, load_model, load_models
from plumbline.storage.blocks import joined
from plumbline.storage.partial import replace_text
from plumbline.storage.store import provenance
from plumbline.tuning import (
    Candidate,
    Tuning,
    TuningError,
    TuningSpec,
    Values,
    best_of,
    candidates,
    grid_size,
    shown,
)

logger = logging.getLogger("plumbline.tune")

SPLIT = "validation"
"""The split that candidates are judged on."""
NO_PART = 1_000_002
"""In place of the part in the seed of the random numbers: all candidates have the same, and no part of the
samples has them."""
FAILURES = (DivergedSamplingError, torch.linalg.LinAlgError, ArithmeticError)
"""Errors by which a candidate loses. Any other error ends the job."""


def tune(
    spec: str,
    *,
    seed: int,
    dataset: Sequence[Path],
    model: Sequence[Path],
    output: Path,
    measuring_models: Sequence[Path] = (),
) -> None:
    """Tunes a method.

    Args:
        spec: the slice of the method's tuning as JSON.
        seed: the first seed of the study, which the models were trained with.
        dataset: the parts of the dataset.
        model: folders of the trained models: one, the members of an ensemble, or those of all candidates.
        output: the record to write.
        measuring_models: folders of the models that the constraints and the metric use, in the order of the
            slice.

    Raises:
        CorruptStoreError: a part or a model cannot be read.
        TuningError: every candidate failed, or the metric does not say which is better.
    """
    started = time.perf_counter()
    values = json.loads(spec)
    method = MethodSpec.model_validate(values["method"])
    settings = TuningSpec.model_validate(values["tuning"])
    data = with_training_scale(on_validation(load_for_metrics(dataset, values["memory"])))
    example, device = example_of(data), devices.choose()
    measuring = load_models(values["measuring_models"], measuring_models, example)
    observation = values["observation"]
    trial = Trial(
        data,
        {name: load_model(folder, example) for name, folder in zip(method.models(), model, strict=True)},
        measuring,
        build_constraints(values["constraints"], example, measuring),
        None if observation is None else of_kind(ObservationSpec, observation),
        of_kind(MetricSpec, values["metric"]),
        settings,
        SampleCounts.model_validate(values["samples"]),
        seed,
        device,
    )
    tried: list[Candidate] = []
    found: xr.DataArray | None = None
    asked = candidates(method.sweep, settings.budget, seed)
    for number, one in enumerate(asked, start=1):
        candidate, column = trial.of(method, one)
        found = column if found is None else found
        tried.append(candidate)
        result = candidate.failure or f"{candidate.value:.4g}"
        logger.info("%d of %d, %s: %s", number, len(asked), shown(one), result)
    if found is None:
        failures = "; ".join(f"{shown(one.values)}: {one.failure}" for one in tried)
        raise TuningError(f"no candidate of the sweep gives a value of {settings.metric}: {failures}")
    better = str(found.attrs["better"])
    record = Tuning(
        metric=f"{settings.name()}.{found.name}" if settings.name() != found.name else settings.name(),
        title=str(found.attrs["long_name"]),
        units=str(found.attrs["units"]),
        better=better,
        split=SPLIT,
        samples=trial.counts.count,
        seed=seed,
        budget=settings.budget,
        grid=grid_size(method.sweep),
        candidates=tried,
        chosen=best_of([one.value for one in tried], better),
        provenance=provenance(spec, devices.name_of(device), started),
    )
    replace_text(output, record.model_dump_json(indent=2))
    logger.info("chosen: %s.", shown(record.best.values))


@dataclass(frozen=True)
class Trial:
    """What all candidates are drawn and judged with.

    Attributes:
        data: the dataset, with the validation split in place of the test split.
        members: the trained models of all candidates, by name.
        measuring: the models that constraints and metric use, by name.
        constraints: the study's constraints, not yet bound to samples.
        observation: the study's observation; None if it has none.
        metric: the metric to choose by.
        settings: the study's `tuning`.
        counts: the number of samples to draw.
        seed: the seed of the models.
        device: the device to draw on.
    """

    data: xr.Dataset
    members: Mapping[str, nn.Module]
    measuring: Mapping[str, nn.Module]
    constraints: Mapping[str, Constraint]
    observation: ObservationSpec | None
    metric: MetricSpec
    settings: TuningSpec
    counts: SampleCounts
    seed: int
    device: str | torch.device

    def of(self, method: MethodSpec, values: Values) -> tuple[Candidate, xr.DataArray | None]:
        """Tries a candidate.

        Returns:
            The candidate, and the column of its metric; None if it failed.

        Raises:
            TuningError: the metric does not have the column to choose by.
        """
        started = time.perf_counter()
        try:
            drawn = self._drawn(method.chosen(values))
            seconds = time.perf_counter() - started
            found = column_of(self._evaluated(drawn), self.settings)
        except FAILURES as error:
            seconds = time.perf_counter() - started
            return Candidate(values=values, value=None, failure=_line(error), seconds=round(seconds, 3)), None
        value = float(found)
        known = math.isfinite(value)
        costs = {
            name: float(drawn.attrs[name])
            for name in ("network_evaluations", "backward_passes", "projection_solves")
            if name in drawn.attrs
        }
        candidate = Candidate(
            values=values,
            value=value if known else None,
            failure="" if known else f"its {self.settings.metric} is {value}",
            seconds=round(seconds, 3),
            **costs,
        )
        return candidate, found if known else None

    def _drawn(self, method: MethodSpec) -> xr.Dataset:
        cases = np.arange(self.counts.count) // self.counts.samples_per_case
        names = method.sampler.constraint_names()
        batches = draw_in_batches(
            method,
            [self.members[name] for name in method.models()],
            known_batches(self.data, cases, method.batch),
            len(cases),
            constraints={name: self.constraints[name] for name in names},
            observation=self.observation,
            seed=self.seed,
            torch_seed=self.seed * 1_000_003 + NO_PART,
            device=self.device,
        )
        return joined(list(batches)).assign(case=("sample", cases))

    def _evaluated(self, drawn: xr.Dataset) -> xr.Dataset:
        every = 1 if self.metric.of_every_draw else self.counts.samples_per_case
        among = drawn.isel(sample=slice(None, None, every))
        context = EvaluationContext(self.constraints, self.measuring, self.device)
        return self.metric.evaluate(among, self.data, context.bound_to(among))


def on_validation(data: xr.Dataset) -> xr.Dataset:
    """The dataset with its validation split as `test`, and without the samples of the test split."""
    kept = data.isel(sample=np.flatnonzero(data["split"].values != "test"))
    names = np.where(kept["split"].values == SPLIT, "test", kept["split"].values)
    return kept.assign_coords(split=("sample", names))


def column_of(found: xr.Dataset, settings: TuningSpec) -> xr.DataArray:
    """The column of a metric to choose by.

    Args:
        found: what the metric returned.
        settings: the study's `tuning`.

    Raises:
        TuningError: there is no such column, or there are several and `tuning.metric` names none.
    """
    columns = [
        str(name)
        for name, value in found.data_vars.items()
        if not value.dims and value.attrs.get("better") in ("lower", "higher")
    ]
    asked, name = settings.column(), settings.name()
    there = ", ".join(f"{name}.{column}" for column in columns) or "none"
    if asked is not None and asked not in columns:
        raise TuningError(f"the metric {name!r} has no column {asked!r} to choose by; there are {there}")
    if asked is None and len(columns) != 1:
        raise TuningError(f"the metric {name!r} must have one column to choose by; name one of {there}")
    return found[asked or columns[0]]


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{text[:200] or 'no further reason given'} ({type(error).__name__})"

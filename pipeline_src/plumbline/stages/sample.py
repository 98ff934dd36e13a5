"""sample: draws one part of a method's samples, and writes them batch by batch."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from plumbline import devices
from plumbline.constraints import Constraint
from plumbline.method import MethodSpec, SampleCounts
from plumbline.models._spaces import batch_of
from plumbline.observations import ObservationSpec
from plumbline.observations._observation import Observation
from plumbline.progress import Progress
from plumbline.samplers import Costs, Predictive, SamplingTask
from plumbline.samplers._ensemble import Ensemble
from plumbline.spec import of_kind
from plumbline.stages.trained import build_constraints, example_of, load_model, load_models
from plumbline.storage.blocks import HELD_BYTES, joined, write_in_blocks
from plumbline.storage.store import open_parts, provenance, select_split
from plumbline.tuning import read_tuning

logger = logging.getLogger("plumbline.sample")


class DivergedSamplingError(RuntimeError):
    """Drawn samples are not finite."""


def sample(
    spec: str,
    *,
    seed: int,
    part: int,
    dataset: Sequence[Path],
    model: Sequence[Path],
    output: Path,
    constraint_models: Sequence[Path] = (),
    tuning: Path | None = None,
) -> None:
    """Draws one part of the samples of a method.

    The samples are drawn for the test samples in order, `samples_per_case` for each, under its condition if
    the dataset has conditions.

    Args:
        spec: the method's slice as JSON.
        seed: seed of the method. Seed and part together determine the random numbers.
        part: index of the part.
        dataset: the parts of the dataset.
        model: folders of the trained models that the slice names: one, the members of an ensemble, or those
            of all candidates of a sweep.
        output: the store to write.
        constraint_models: folders of the models that the method's constraints use, in the order of its slice.
        tuning: the record of the method's tuning, whose choice is drawn with; None without a sweep.

    Raises:
        CorruptStoreError: a part or a model cannot be read.
        TuningError: the record cannot be read.
        DivergedSamplingError: some samples are not finite.
    """
    started = time.perf_counter()
    values = json.loads(spec)
    method = MethodSpec.model_validate(values["method"])
    chosen = read_tuning(tuning).best.values if tuning else {}
    method = method.chosen(chosen)
    folders = dict(zip(values["drawn_from"], model, strict=True))
    counts = SampleCounts.model_validate(values["samples"])
    first, last = counts.bounds(part)
    opened = open_parts(dataset)
    cases = np.arange(first, last) // counts.samples_per_case
    device = devices.choose()
    example = example_of(opened)
    measuring = load_models(values["constraint_models"], constraint_models, example)
    observation = values["observation"]
    batches = draw_in_batches(
        method,
        [load_model(folders[name], example) for name in method.models()],
        known_batches(opened, cases, method.batch),
        len(cases),
        constraints=build_constraints(values["constraints"], example, measuring),
        observation=None if observation is None else of_kind(ObservationSpec, observation),
        seed=seed,
        first=first,
        torch_seed=seed * 1_000_003 + part,
        device=device,
    )
    known = {"tuned": json.dumps(chosen)} if tuning else {}
    with_cases = (
        batch.assign(case=("sample", cases[start : start + method.batch])).assign_attrs(known)
        for start, batch in zip(range(0, len(cases), method.batch), batches, strict=True)
    )
    write_in_blocks(
        with_cases, len(cases), output, lambda: provenance(spec, devices.name_of(device), started)
    )


def known_batches(dataset: xr.Dataset, cases: np.ndarray, size: int) -> Iterator[xr.Dataset]:
    """The test samples to draw for, in batches, of which several are read together.

    Args:
        dataset: the dataset, which may be lazy.
        cases: the place in the test split of each sample to draw.
        size: number of samples in a batch.

    Raises:
        CorruptStoreError: they cannot be read.
    """
    sample_bytes = max(1, dataset.isel(sample=slice(0, 1)).nbytes)
    together = max(1, HELD_BYTES // (size * sample_bytes)) * size
    for first in range(0, len(cases), together):
        read = select_split(dataset, "test", cases[first : first + together])
        for start in range(0, read.sizes["sample"], size):
            yield read.isel(sample=slice(start, start + size))
        del read  # before the next ones are read


def draw_samples(
    method: MethodSpec,
    members: Sequence[nn.Module],
    known: xr.Dataset,
    *,
    constraints: Mapping[str, Constraint],
    observation: ObservationSpec | None,
    seed: int,
    torch_seed: int,
    device: str | torch.device = "cpu",
) -> xr.Dataset:
    """Draws one sample of a method per given test sample, as one dataset; see `draw_in_batches`."""
    count = known.sizes["sample"]
    batches = (known.isel(sample=slice(i, i + method.batch)) for i in range(0, count, method.batch))
    drawn = draw_in_batches(
        method,
        members,
        batches,
        count,
        constraints=constraints,
        observation=observation,
        seed=seed,
        torch_seed=torch_seed,
        device=device,
    )
    return joined(list(drawn))


def draw_in_batches(
    method: MethodSpec,
    members: Sequence[nn.Module],
    known: Iterable[xr.Dataset],
    count: int,
    *,
    constraints: Mapping[str, Constraint],
    observation: ObservationSpec | None,
    seed: int,
    torch_seed: int,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> Iterator[xr.Dataset]:
    """Draws one sample of a method per given test sample.

    Args:
        method: the method.
        members: its trained model, or the members of its ensemble; empty if it draws from no model.
        known: the test samples, in batches.
        count: the number of test samples.
        constraints: the constraints of its sampler, not yet bound to samples.
        observation: the study's observation; None if it has none.
        seed: seed of the method.
        torch_seed: seed of the random numbers.
        first: index of the first of these samples among all samples of the method and seed.
        device: the device to draw on.

    Yields:
        The samples of each batch as `state`, the distance of each sample to every constraint, and the costs
        so far as attributes.

    Raises:
        DivergedSamplingError: some samples of a batch are not finite.
    """
    model = model_of([member.to(device) for member in members])
    observing: Observation | None = None
    torch.manual_seed(torch_seed)
    progress = Progress(logger)
    done, wall = 0, 0.0
    for batch in known:
        started = time.perf_counter()
        progress.count(done, count, "sample")
        if observation is not None and observing is None:
            observing = observation_of(observation, batch)
        task = SamplingTask(
            batch_of(batch),
            {name: constraint.bind(batch) for name, constraint in constraints.items()},
            device=device,
            seed=seed,
            first=first + done,
            progress=partial(_report, progress),
        )
        if observing is not None:
            task = replace(task, observation=observing.of(task.batch["state"], batch["sample"].values))
        found = method.sampler.sample(model, task)
        judged = {name: _judged(constraint, found.state) for name, constraint in task.constraints.items()}
        found = found.cpu()
        done += batch.sizes["sample"]
        wall += time.perf_counter() - started
        samples = as_dataset(found.by_name(), batch)
        refuse_diverged(samples["state"].values, first + done - batch.sizes["sample"])
        for name, (distance, satisfied) in judged.items():
            samples[f"final_distance_{name}"] = ("sample", distance.numpy())
            samples[f"converged_{name}"] = ("sample", satisfied.numpy())
        costs = {name: cost for name, cost in asdict(found.costs).items() if not math.isnan(cost)}
        if method.sampler.is_timed():
            costs["sampling_seconds_per_sample"] = wall / done
        yield samples.assign_attrs(costs)


def model_of(members: Sequence[nn.Module]) -> object:
    """The object that a sampler draws from: the model, an ensemble of several models, or None."""
    if len(members) > 1:
        return Ensemble([cast("Predictive", one) for one in members])
    return members[0] if members else None


def refuse_diverged(state: np.ndarray, first: int) -> None:
    """Checks that samples (sample, ...) are finite, of which the first has the index `first`.

    Raises:
        DivergedSamplingError: some samples are not finite.
    """
    bad = ~np.isfinite(state.reshape(len(state), -1)).all(1)
    if bad.any():
        raise DivergedSamplingError(
            f"{int(bad.sum())} of {len(state)} samples are not finite, the first of them sample "
            f"{first + int(np.argmax(bad))}: the sampler diverged. Take more steps, weaken the guidance, or "
            "train the model longer."
        )


def observation_of(spec: ObservationSpec, example: xr.Dataset) -> Observation:
    """The observation of states with the dimensions of `example`, without measurements."""
    return spec.build({str(d): example.sizes[d] for d in example["state"].dims[1:]})


def _judged(constraint: Constraint, x: Tensor) -> tuple[Tensor, Tensor]:
    """The distance of each sample (B,), and whether it is feasible, on the CPU."""
    return constraint.distance(x).cpu(), constraint.satisfied(x).cpu()


def _report(progress: Progress, costs: Costs) -> None:
    progress.report(f"{costs.network_evaluations} network evaluations of this batch")


def as_dataset(drawn: dict[str, Tensor], known: xr.Dataset) -> xr.Dataset:
    """Samples with the coordinates, units and conditions of the test samples that they were drawn for.

    A tensor with the shape of `state` has its dimensions. Any other tensor has the dimension `sample`, and an
    index of its own for each further axis.

    Args:
        drawn: tensors (B, ...) by name, with the samples as `state`.
        known: the test samples.
    """
    state = known["state"]
    kept: dict[str, tuple[tuple[Hashable, ...], np.ndarray, dict[Hashable, object]]] = {}
    for name, tensor in drawn.items():
        whole = tensor.shape == state.shape
        attrs = state.attrs if name == "state" or whole else {}
        own = (*state.dims[:1], *(f"{name}_index" for _ in tensor.shape[1:]))
        kept[name] = (state.dims if whole else own, tensor.numpy(), attrs)
    given = {name: v for name, v in known.data_vars.items() if v.dims[:1] == ("sample",) and name not in kept}
    coords = {name: c for name, c in known.coords.items() if "sample" not in c.dims}
    return xr.Dataset({**kept, **given}, coords=coords).drop_vars(["sample", "split"], errors="ignore")

"""sample: one part of a method's samples."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from plumbline.models._spaces import batch_of
from plumbline.observations import ObservationSpec
from plumbline.observations._observation import Observation
from plumbline.progress import Progress
from plumbline.samplers import Costs, Samples, SamplingTask
from plumbline.samplers._ensemble import Ensemble
from plumbline.spec import of_kind
from plumbline.stages.trained import build_constraints, example_of, load_model, load_models
from plumbline.storage.store import open_parts, provenance, select_split, write_store
from plumbline.study import MethodSpec, SampleCounts

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
) -> None:
    """Draws part `part` of the samples of the method `spec` (JSON).

    Sample i is drawn for the condition of test sample i, where the dataset has conditions.

    Args:
        spec: the method's slice.
        seed: seed of the method; the part's own follows from both.
        part: which part.
        dataset: the parts of the dataset.
        model: folder of the trained model, or of each member of an ensemble.
        output: the store to write.
        constraint_models: folders of the models that its constraints measure by, in the order of its slice.
    """
    started = time.perf_counter()
    values = json.loads(spec)
    method = MethodSpec.model_validate(values["method"])
    counts = SampleCounts.model_validate(values["samples"])
    first, last = counts.bounds(part)
    opened = open_parts(dataset)
    cases = np.arange(first, last) // counts.samples_per_case
    known = select_split(opened, "test").isel(sample=cases)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    example = example_of(opened)
    members = [load_model(folder, example).to(device) for folder in model]
    trained = members[0] if len(members) == 1 else Ensemble(members)
    measuring = load_models(values["constraint_models"], constraint_models, example)
    constraints = build_constraints(values["constraints"], example, measuring)
    observation = observation_of(values["observation"], example)
    torch.manual_seed(seed * 1_000_003 + part)
    progress = Progress(logger)
    drawn: list[Samples] = []
    judged = []
    drawing = time.perf_counter()
    for start in range(0, last - first, method.batch):
        batch = known.isel(sample=slice(start, start + method.batch))
        bound = {name: constraint.bind(batch) for name, constraint in constraints.items()}
        progress.report(f"{start} of {last - first} samples drawn")
        task = SamplingTask(batch_of(batch), bound, device=device, progress=partial(_report, progress))
        if observation is not None:
            task = replace(task, observation=observation.of(task.batch["state"], batch["sample"].values))
        drawn.append(method.sampler.sample(trained, task))
        x = drawn[-1].state
        judged.append({name: (c.distance(x), c.satisfied(x)) for name, c in bound.items()})
    wall = time.perf_counter() - drawing
    parts = [one.by_name() for one in drawn]
    samples = as_dataset({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, known)
    refuse_diverged(samples["state"].values)
    for name in constraints:
        samples[f"final_distance_{name}"] = ("sample", torch.cat([j[name][0] for j in judged]).numpy())
        samples[f"converged_{name}"] = ("sample", torch.cat([j[name][1] for j in judged]).numpy())
    samples["case"] = ("sample", cases)
    attrs = {**asdict(drawn[-1].costs), "sampling_seconds_per_sample": wall / (last - first)}
    write_store(samples.assign_attrs(attrs), output, provenance(spec, str(device), started))


def refuse_diverged(state: np.ndarray) -> None:
    """Checks that samples (sample, ...) are finite.

    Raises:
        DivergedSamplingError: some are not.
    """
    bad = ~np.isfinite(state.reshape(len(state), -1)).all(1)
    if bad.any():
        raise DivergedSamplingError(
            f"{int(bad.sum())} of {len(state)} samples are not finite, the first of them sample "
            f"{int(np.argmax(bad))}: the sampler diverged. Take more steps, or less guidance, or train the model longer."
        )


def observation_of(values: dict[str, Any] | None, example: xr.Dataset) -> Observation | None:
    """The study's observation, without measurements, from the values of its spec; None from None."""
    if values is None:
        return None
    return of_kind(ObservationSpec, values).build(
        {str(d): example.sizes[d] for d in example["state"].dims[1:]}
    )


def _report(progress: Progress, costs: Costs) -> None:
    progress.report(f"{costs.network_evaluations} network evaluations of this batch")


def as_dataset(drawn: dict[str, Tensor], known: xr.Dataset) -> xr.Dataset:
    """Samples with the coordinates and units of the test samples they were drawn for, and what those were given.

    A tensor beside `state` has its dimensions if it has its shape; otherwise `sample`, and of a vector a sample an index of its own.
    """
    state = known["state"]
    kept: dict[str, Any] = {}
    for name, tensor in drawn.items():
        whole = tensor.shape == state.shape
        attrs = state.attrs if name == "state" or whole else {}
        own = (*state.dims[:1], *(f"{name}_index" for _ in tensor.shape[1:]))
        kept[name] = (state.dims if whole else own, tensor.numpy(), attrs)
    given = {name: v for name, v in known.data_vars.items() if v.dims[:1] == ("sample",) and name not in kept}
    coords = {name: c for name, c in known.coords.items() if "sample" not in c.dims}
    return xr.Dataset({**kept, **given}, coords=coords).drop_vars(["sample", "split"], errors="ignore")

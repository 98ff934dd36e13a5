"""sample: one part of a generator's samples."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from plumbline.constraints import ConstraintSpec
from plumbline.progress import Heartbeat
from plumbline.samplers import Problem, SamplerSpec
from plumbline.samplers.wrappers.counting import CountingDenoiser
from plumbline.spec import of_kind
from plumbline.stages.trained import batch_of, example_of, load_model
from plumbline.store import open_parts, provenance, select_split, write_store
from plumbline.study import GeneratorSpec, SampleCounts

logger = logging.getLogger("plumbline.sample")


def sample(spec: str, *, seed: int, part: int, dataset: Sequence[Path], model: Path, output: Path) -> None:
    """Draws part `part` of the samples of the generator `spec` (JSON).

    Sample i is drawn for the condition of test sample i, where the dataset has conditions.

    Args:
        spec: the generator's slice.
        seed: seed of the generator; the part's own follows from both.
        part: which part.
        dataset: the parts of the dataset.
        model: folder of the trained model.
        output: the store to write.
    """
    started = time.perf_counter()
    values = json.loads(spec)
    generator = GeneratorSpec.model_validate(values["generator"])
    first, last = SampleCounts.model_validate(values["samples"]).bounds(part)
    opened = open_parts(dataset)
    known = select_split(opened, "test").isel(sample=slice(first, last))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    example = example_of(opened)
    trained = load_model(model, example).to(device)
    constraints = {
        name: of_kind(ConstraintSpec, c).build(example) for name, c in values["constraints"].items()
    }
    torch.manual_seed(seed * 1_000_003 + part)
    heartbeat = Heartbeat(logger)
    drawn, judged, costs = [], [], {}
    drawing = time.perf_counter()
    for start in range(0, last - first, generator.batch):
        batch = known.isel(sample=slice(start, start + generator.batch))
        bound = {name: constraint.given(batch) for name, constraint in constraints.items()}
        problem = Problem(trained.space, bound)
        heartbeat.beat(f"{start} of {last - first} samples drawn")
        x = draw(trained, generator.sampler, problem, batch_of(batch), device, heartbeat)
        drawn.append(x.cpu())
        judged.append({name: (c.distance(drawn[-1]), c.satisfied(drawn[-1])) for name, c in bound.items()})
        costs = asdict(problem.costs)
    wall = time.perf_counter() - drawing
    samples = as_dataset(torch.cat(drawn), known)
    for name in constraints:
        samples[f"final_distance_{name}"] = ("sample", torch.cat([j[name][0] for j in judged]).numpy())
        samples[f"converged_{name}"] = ("sample", torch.cat([j[name][1] for j in judged]).numpy())
    attrs = {**costs, "sampling_seconds_per_sample": wall / (last - first)}
    write_store(samples.assign_attrs(attrs), output, provenance(spec, str(device), started))


def draw(
    model: Any,
    sampler_spec: SamplerSpec,
    problem: Problem,
    batch: dict[str, Tensor],
    device: torch.device,
    heartbeat: Heartbeat,
) -> Tensor:
    """As many samples as `batch` has conditions, in the data's units and single precision.

    The sampler ends at the smallest noise of the schedule; one more evaluation takes that noise off.
    """
    conditions = model.conditions({name: tensor.to(device) for name, tensor in batch.items()})

    def beat() -> None:
        heartbeat.beat(f"{problem.costs.network_evaluations} network evaluations of this batch")

    denoiser = CountingDenoiser(model.denoiser, problem.costs, beat)
    sampler = sampler_spec.build(denoiser, problem)
    z = sampler(sampler.init(tuple(batch["state"].shape), device=device), **conditions)
    with torch.no_grad():
        mean = sampler.denoiser(z, torch.tensor(sampler.stop, device=device), **conditions).mean
        return sampler_spec.finish(problem.space.decode(mean.double()), problem).float()


def as_dataset(state: Tensor, known: xr.Dataset) -> xr.Dataset:
    """Samples with the coordinates, units and conditions of the test samples they were drawn for."""
    kept: dict[str, Any] = {"state": (known["state"].dims, state.numpy(), known["state"].attrs)}
    if "condition" in known:
        kept["condition"] = known["condition"]
    coords = {name: c for name, c in known.coords.items() if "sample" not in c.dims}
    return xr.Dataset(kept, coords=coords).drop_vars(["sample", "split"], errors="ignore")

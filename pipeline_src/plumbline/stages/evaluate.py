"""evaluate: computes all metrics of one method and seed, or of held-out real data."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from plumbline import devices
from plumbline.method import SampleCounts
from plumbline.metrics import EvaluationContext, MetricSpec
from plumbline.metrics._jackknife import replicates
from plumbline.metrics._splits import with_training_scale
from plumbline.spec import of_kind
from plumbline.stages.trained import build_constraints, example_of, load_models
from plumbline.storage.origins import origin_of
from plumbline.storage.store import (
    load_parts,
    open_parts,
    open_store,
    provenance,
    reading,
    select_split,
    write_store,
)
from plumbline.training.streamed import GB

logger = logging.getLogger("plumbline.evaluate")

COSTS = (
    "network_evaluations",
    "backward_passes",
    "projection_solves",
    "sampling_seconds_per_sample",
    "effective_fraction",
)
"""Attributes of samples, and of their metrics, that say what one of them cost."""


def evaluate(
    spec: str,
    *,
    seed: int,
    dataset: Sequence[Path],
    samples: Sequence[Path],
    output: Path,
    models: Sequence[Path] = (),
) -> None:
    """Evaluates samples against the test split.

    Constraints and models compute on the GPU, if there is one.

    Args:
        spec: the slice with metrics, constraints, the number of samples and the memory, as JSON.
        seed: seed of the method; without samples, seed of the choice from the validation split.
        dataset: the parts of the dataset.
        samples: the parts of the samples. If empty, samples of the validation split are evaluated instead,
            one per test sample that methods draw for. This gives the floor of every metric.
        output: the store to write.
        models: folders of the models that constraints and metrics use, in the order of the slice.

    Raises:
        CorruptStoreError: a part or a model cannot be read.
    """
    started = time.perf_counter()
    values = json.loads(spec)
    data = with_training_scale(load_for_metrics(dataset, values["memory"]))
    counts = SampleCounts.model_validate(values["samples"])
    evaluated = load_parts(samples) if samples else held_out(data, counts.cases, seed)
    first = evaluated.isel(sample=slice(None, None, counts.samples_per_case if samples else 1))
    example = example_of(data)
    measuring = load_models(values["models"], models, example)
    constraints = build_constraints(values["constraints"], example, measuring)
    device = devices.choose()
    by = EvaluationContext(constraints, measuring, device)
    given = {every: (among, by.bound_to(among)) for every, among in ((True, evaluated), (False, first))}
    metrics = {name: of_kind(MetricSpec, m) for name, m in values["metrics"].items()}
    found = {}
    for name, metric in metrics.items():
        among, by = given[metric.of_every_draw]
        found[name] = metric.evaluate(among, data, by)
    parts = [_numbered(one) for one in found.values()]
    parts.append(replicates(metrics, found, given, data, counts.cases))
    result = xr.merge(parts, combine_attrs="drop_conflicts", compat="equals", join="outer")
    costs = {name: evaluated.attrs[name] for name in COSTS if name in evaluated.attrs}
    if samples:
        costs["effective_fraction"] = effective_fraction(evaluated)
    origins = json.dumps([origin_of(open_store(path).attrs) for path in samples])
    result.attrs = {
        **costs,
        "samples_origins": origins,
        "samples_device": evaluated.attrs.get("device", "none") if samples else "none",
    }
    write_store(result, output, provenance(spec, devices.name_of(device), started))


def effective_fraction(samples: xr.Dataset) -> float:
    """The number of effective samples over that of the samples.

    Independent samples count fully. Those of a particle sampler, which stores the fraction of different
    ancestors among the samples of a batch as `distinct_ancestors`, count by it: copies of one ancestor are
    one sample. If it stores only the least `effective_sample_size`, as a fraction of the particles, they
    count by that.
    """
    for name in ("distinct_ancestors", "effective_sample_size"):
        if name in samples:
            return float(samples[name].mean())
    return 1.0


def load_for_metrics(paths: Sequence[Path], memory: float) -> xr.Dataset:
    """The dataset in memory, except for a train split larger than `memory` (GB), which stays lazy.

    All variables along `sample` are then lazy arrays, of which those of the other splits are in memory.

    Raises:
        CorruptStoreError: a part cannot be read, or the parts do not fit together.
    """
    opened = open_parts(paths)
    train = opened["split"].values == "train"
    if opened.isel(sample=np.flatnonzero(train)).nbytes <= memory * GB:
        return load_parts(paths)
    logger.info("the train split is larger than `memory` (%g GB): metrics read it block by block.", memory)
    with reading(opened.encoding["source"]):
        others = opened.isel(sample=np.flatnonzero(~train)).load()
    along = [name for name, variable in others.data_vars.items() if variable.dims[:1] == ("sample",)]
    data = xr.concat(
        [opened.isel(sample=np.flatnonzero(train))[along], others[along].chunk()], dim="sample",
        coords="minimal", compat="override", join="exact", combine_attrs="override",
    )  # fmt: skip
    rest = {name: variable for name, variable in others.data_vars.items() if name not in along}
    return data.assign(rest).assign_attrs(opened.attrs)


def _numbered(found: xr.Dataset) -> xr.Dataset:
    """Adds an index along `sample`, so that metrics of some samples can be merged with metrics of all."""
    return found.assign_coords(sample=np.arange(found.sizes["sample"])) if "sample" in found.dims else found


def held_out(data: xr.Dataset, count: int, seed: int) -> xr.Dataset:
    """Chooses `count` samples of the validation split at random, depending on the seed."""
    validation = select_split(data, "validation")
    chosen = np.random.default_rng(seed).permutation(validation.sizes["sample"])[:count]
    return validation.isel(sample=np.sort(chosen))

"""compare: collects everything that a study's report shows in one store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from plumbline.plan import Plan
from plumbline.reporting.summary import summarise
from plumbline.stages.evaluate import COSTS
from plumbline.stages.train import forget_trainings
from plumbline.stages.trained import read_card, read_training_log
from plumbline.storage.origins import as_attribute, origin_of
from plumbline.storage.store import load_store, open_parts, open_store, provenance, select_split, write_store
from plumbline.study import REAL, Study
from plumbline.tuning import read_tuning

EXAMPLES = 6
"""Largest number of samples per method that the report shows."""
POINTS = 300
"""The same for samples that are points in the plane."""

# Prefixes of the columns of a training log that are kept, besides step, loss and time.
FURTHER_COLUMNS = (
    "validation_loss",
    "validation_absolute_error",
    "multiplier_",
    "divergence_",
    "cross_entropy_",
    "set_loss_",
    "reward_",
)


def compare(
    spec: str,
    *,
    results: Path,
    output: Path,
) -> None:
    """Collects metrics, costs, examples and training logs.

    Args:
        spec: the whole study as JSON.
        results: the folder of results, which contains all inputs.
        output: the store to write.

    Raises:
        CorruptStoreError: an input cannot be read.
        TuningError: the record of a method's tuning cannot be read.
    """
    started = time.perf_counter()
    study = Study.model_validate_json(spec)
    plan = Plan(study, results)
    seeds = list(study.seeds)
    dataset = plan.dataset_parts()
    metrics = {name: [plan.metrics(name, seed) for seed in seeds] for name in (REAL, *study.methods)}
    checkpoints = {name: [plan.metrics(name, seed) for seed in seeds] for name in plan.at_checkpoints()}
    samples = {name: plan.samples(name, seeds[0])[0] for name in study.methods}
    models = {name: [plan.model_folder(name, seed) for seed in seeds] for name in study.models}
    evaluated = {name: [load_store(path) for path in paths] for name, paths in metrics.items()}
    with_costs = {name: [_with_costs(one) for one in stores] for name, stores in evaluated.items()}
    table = _gathered(with_costs, "methods").assign_coords(seed=seeds)
    table = table.merge(_examples(dataset, samples, study.samples.samples_per_case)).merge(
        _training(models, seeds)
    )
    if checkpoints:
        table = table.merge(_at_checkpoints(plan, checkpoints, models))
    tunings = {name: json.loads(read_tuning(plan.tuning(name)).model_dump_json()) for name in plan.swept()}
    devices = {name: stores[0].attrs.get("samples_device", "unknown") for name, stores in evaluated.items()}
    own = provenance(spec, started=started)
    made = [*_made(dataset, samples, models, {**metrics, **checkpoints}), ("the comparison", origin_of(own))]
    summary = summarise(study).model_dump_json()
    table.attrs = {
        "study": spec,
        "summary": summary,
        "samples_devices": json.dumps(devices),
        "tunings": json.dumps(tunings),
        "origins": as_attribute(made),
    }
    write_store(table, output, own)
    forget_trainings(folder for folders in models.values() for folder in folders)


def _made(
    dataset: Sequence[Path],
    samples: Mapping[str, Path],
    models: Mapping[str, Sequence[Path]],
    metrics: Mapping[str, Sequence[Path]],
) -> Iterator[tuple[str, str]]:
    """The inputs of the comparison: a description of each store, and the library state that wrote it."""
    for path in dataset:
        yield "the dataset", origin_of(open_store(path).attrs)
    for name, folders in models.items():
        for folder in folders:
            yield f"model {name}", origin_of(read_card(folder))
    for name, path in samples.items():
        yield f"samples of {name}", origin_of(open_store(path).attrs)
    for name, paths in metrics.items():
        for attrs in (open_store(path).attrs for path in paths):
            yield from (
                (f"samples of {name}", origin) for origin in json.loads(attrs.get("samples_origins", "[]"))
            )
            yield f"metrics of {name}", origin_of(attrs)


def _gathered(evaluated: Mapping[str, Sequence[xr.Dataset]], dim: str) -> xr.Dataset:
    """Concatenates the metrics of each name, one store per seed, along (dim, seed).

    Each variable keeps the attributes of its first occurrence.
    """
    runs = [
        xr.concat(stores, dim="seed", join="outer", combine_attrs="override") for stores in evaluated.values()
    ]
    names = xr.DataArray(list(evaluated), dims=dim)
    table = xr.concat(runs, dim=names, join="outer", data_vars="all", combine_attrs="override")
    for name in table.data_vars:
        table[name].attrs = next(d[name] for stores in evaluated.values() for d in stores if name in d).attrs
    return table


def _with_costs(evaluated: xr.Dataset) -> xr.Dataset:
    """The metrics with the costs of the samples as further variables; unknown costs are NaN."""
    costs = {f"cost_{name}": float(evaluated.attrs.get(name, np.nan)) for name in COSTS}
    return evaluated.assign(costs)


def _examples(dataset: Sequence[Path], samples: Mapping[str, Path], draws: int) -> xr.Dataset:
    """The first samples of each method, and of the test split as `real`.

    If there are several `draws` per test sample, the first one is shown.
    """
    data = open_parts(dataset)
    drawn = {name: open_store(path)["state"][::draws] for name, path in samples.items()}
    # A part may contain fewer samples. Every method shows the same number.
    most = POINTS if data["state"].shape[1:] == (2,) else EXAMPLES
    tested = int((data["split"].values == "test").sum())
    count = min(most, tested, *(state.sizes["sample"] for state in drawn.values()))
    states = {REAL: select_split(data, "test", slice(count))["state"]} | drawn
    first = [state.isel(sample=slice(0, count)).load().rename(sample="example") for state in states.values()]
    shown = [state.drop_vars(["example", "split"], errors="ignore") for state in first]
    names = xr.DataArray(list(states), dims="methods")
    examples = xr.concat(shown, dim=names, coords="minimal", compat="override")
    return examples.assign_attrs(draws=draws).to_dataset(name="examples")


def _at_checkpoints(
    plan: Plan, checkpoints: Mapping[str, Sequence[Path]], models: Mapping[str, Sequence[Path]]
) -> xr.Dataset:
    """The metrics of methods at checkpoints along (judged, seed), with the step and training time so far."""
    named = plan.at_checkpoints()
    evaluated = {name: [_scalars(load_store(path)) for path in paths] for name, paths in checkpoints.items()}
    table = _gathered(evaluated, "judged").assign_coords(seed=list(plan.study.seeds))
    table = table.rename({name: f"checkpoint_{name}" for name in table.data_vars})
    table["checkpoint_method"] = ("judged", [method for method, _ in named.values()])
    table["checkpoint_step"] = ("judged", [step for _, step in named.values()])
    seconds = [
        [_training_seconds(plan, models, method, step, i) for i in range(len(plan.study.seeds))]
        for method, step in named.values()
    ]
    about = {"units": "s", "long_name": "training time, including all models it depends on"}
    table["checkpoint_seconds"] = (("judged", "seed"), seconds, about)
    return table


def _scalars(evaluated: xr.Dataset) -> xr.Dataset:
    """The scalar metrics."""
    return evaluated[[name for name, v in evaluated.data_vars.items() if not v.dims and "better" in v.attrs]]


def _training_seconds(
    plan: Plan, models: Mapping[str, Sequence[Path]], method: str, step: int, seed: int
) -> float:
    """Wall time in seconds to train a method's model up to a step, including all models it depends on."""
    (model,) = plan.study.methods[method].models()
    below = [read_training_log(models[name][seed]) for name in plan.ancestors(model)]
    own = [row for row in read_training_log(models[model][seed]) if row["step"] >= step]
    return own[0]["wall_time_seconds"] + sum(rows[-1]["wall_time_seconds"] for rows in below if rows)


def _training(models: Mapping[str, Sequence[Path]], seeds: list[int]) -> xr.Dataset:
    """Training logs along (model, seed, row), missing rows as NaN."""
    logs = {name: [read_training_log(folder) for folder in folders] for name, folders in models.items()}
    trained = {name: runs for name, runs in logs.items() if any(runs)}
    cards = {name: read_card(folders[0]) for name, folders in models.items()}
    parameters = xr.DataArray([float(cards[name]["parameters"]) for name in models], dims="model")
    gathered = xr.Dataset({"parameters": parameters}, coords={"model": list(models)})
    longest = max((len(run) for runs in trained.values() for run in runs), default=0)
    logged = {name for runs in trained.values() for run in runs for row in run for name in row}
    further = [name for name in sorted(logged) if name.startswith(FURTHER_COLUMNS)]
    for column in ("step", "loss", "wall_time_seconds", *further):
        values = np.full((len(models), len(seeds), longest), np.nan)
        for i, name in enumerate(models):
            for j, run in enumerate(logs[name]):
                values[i, j, : len(run)] = [row.get(column, np.nan) for row in run]
        gathered[f"training_{column}"] = (("model", "seed", "row"), values)
    return gathered

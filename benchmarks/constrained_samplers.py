"""Which sampler draws the distribution given the constraint, with exact denoisers: no model is trained.

The problems are the studies of `config/studies/exact_conditionals` that have an exact denoiser. Each method
`<name>_exact` of a study draws samples with its settings, and the squared energy distance to as many exact
draws is printed, times 100. Exact draws have a distance of zero on average; "exact draws" shows its spread.

    python benchmarks/constrained_samplers.py --seeds 3 --count 2000
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from plumbline.constraints import Constraint
from plumbline.metrics._pairs import Pairs
from plumbline.metrics.energy_distance import EnergyDistanceSpec
from plumbline.models import BuildContext
from plumbline.models._spaces import batch_of
from plumbline.stages.sample import draw_samples
from plumbline.storage.store import select_split
from plumbline.study import Study, load_study

STUDIES = Path(__file__).parents[1] / "config" / "studies" / "exact_conditionals"
PROBLEMS = (
    "gaussian_equalities",
    "heat_field",
    "gaussian_mixture",
    "truncated_gaussian",
    "ellipse_mixture",
    "sphere_mixture",
    "bent_mixture",
)
TRAINING = 20_000
"""Number of training samples, from which the covariance of the data is estimated."""
EXACT = "_exact"
"""The end of the name of a method with an exact denoiser."""


def problem(name: str, count: int) -> tuple[Study, xr.Dataset, Constraint, torch.nn.Module]:
    """A study, its data with `count` test samples, its constraint, and its exact model."""
    study = load_study(STUDIES / f"{name}.yaml", "laptop")
    splits = {"train": TRAINING, "validation": 2, "test": count}
    dataset = study.dataset.model_validate({**study.dataset.model_dump(), "splits": splits, "parts": 1})
    data = dataset.draw_part(0)
    model = study.models["exact"].build(BuildContext(data.isel(sample=slice(0, 2))))
    model.prepare(batch_of(select_split(data, "train")))
    return study, data, study.constraints["given"].build(data), model


def distance(x: np.ndarray, data: xr.Dataset, reference: np.ndarray) -> float:
    """100 times the squared energy distance, in standard deviations of the training data."""
    train = select_split(data, "train")["state"].values.astype(np.float64)
    scale = train.std(0) if train.ndim == 2 else np.full(train.shape[1:], train.std())
    drawn, exact = ((values.astype(np.float64) / scale).reshape(len(values), -1) for values in (x, reference))
    return 100 * EnergyDistanceSpec().values(Pairs.of(drawn, exact))["energy_distance"]


def row(name: str, seeds: int, count: int, methods: list[str] | None) -> dict[str, str]:
    """The cells of one problem by method: mean and standard deviation over seeds; all methods for None."""
    study, data, constraint, model = problem(name, count)
    test = select_split(data, "test")
    reference = study.dataset.draw_exact(2 * count, 10_000)
    found = {
        "exact draws": [distance(study.dataset.draw_exact(count, s), data, reference) for s in range(seeds)]
    }
    for method, spec in study.methods.items():
        if not method.endswith(EXACT) or (methods and method.removesuffix(EXACT) not in methods):
            continue
        values = []
        started = time.process_time()
        for seed in range(seeds):
            batch = spec.model_copy(update={"batch": count})
            given = dict.fromkeys(spec.sampler.constraint_names(), constraint)
            drawn = draw_samples(
                batch, [model], test, constraints=given, observation=None, seed=seed, torch_seed=seed
            )
            values.append(distance(drawn["state"].values, data, reference))
        found[method.removesuffix(EXACT)] = values
        print(
            f"{name}: {method}: {np.mean(values):.2f}, {time.process_time() - started:.0f} CPU s", flush=True
        )
    return {method: f"{np.mean(values):.2f} ± {np.std(values):.2f}" for method, values in found.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="*", default=PROBLEMS, help="names of studies")
    parser.add_argument("--methods", nargs="*", help="names of methods without `_exact`; all by default")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--count", type=int, default=2000, help="number of samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("plumbline").setLevel(logging.ERROR)
    rows = {name: row(name, options.seeds, options.count, options.methods) for name in options.problems}
    methods = list(dict.fromkeys(method for cells in rows.values() for method in cells))
    print("\n| method | " + " | ".join(rows) + " |")
    print("|---|" + "---:|" * len(rows))
    for method in methods:
        print(f"| {method} | " + " | ".join(cells.get(method, "") for cells in rows.values()) + " |")


if __name__ == "__main__":
    main()

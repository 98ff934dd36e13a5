r"""How far a metric would be with other test samples: the delete-a-group jackknife.

The test cases are divided into G groups, once and alike for every method and seed. A metric t is taken again with each group left
out, of the samples and of the test split alike. With these replicates t_1 ... t_G, and their mean t',

    v = (G - 1) / G  sum_g (t_g - t')^2

estimates the variance of t over test cases and over the noise of the samples drawn for them (Shao and Tu, *The Jackknife and
Bootstrap*, 1995, chapter 2). The same formula for the difference of two methods, whose replicates leave out the same cases, is a
paired comparison.

A bootstrap, which draws cases with replacement, would have copies among the samples. Those are each other's nearest neighbours, so
that precision, recall and coverage come out wrong; leaving out has no copies. The jackknife does not estimate the error of a
maximum, which hangs on one sample: largest distances and violations have no replicates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from plumbline.metrics import EvaluationContext, MetricSpec

if TYPE_CHECKING:
    import xarray as xr

GROUPS = 10
"""G."""
PREFIX = "replicates_"
"""What the names of replicates begin with, before that of their metric."""
SEED = 20261127


def groups_of(cases: int) -> np.ndarray:
    """The group of each test case."""
    return np.random.default_rng(SEED).permutation(cases) % GROUPS


def replicates(
    metrics: Mapping[str, MetricSpec],
    found: Mapping[str, xr.Dataset],
    given: Mapping[bool, tuple[xr.Dataset, EvaluationContext]],
    dataset: xr.Dataset,
    cases: int,
) -> xr.Dataset:
    """The replicates of every number of the table, along `replicate`, under its name after `replicates_`; none of fewer cases than G.

    Args:
        metrics: the metrics by name.
        found: what each said of all samples.
        given: all draws, and the first of each case, with what to measure them with, by `of_every_draw`.
        dataset: the dataset, in memory.
        cases: how many test cases the samples are for.
    """
    import xarray as xr  # the Snakefile loads this room, and must not wait for it

    if cases < GROUPS:
        return xr.Dataset()
    groups = groups_of(cases)
    test = np.flatnonzero(dataset["split"].values == "test")[:cases]
    taken: dict[str, list[float]] = {}
    pairs = {
        name: m.pairs(given[m.of_every_draw][0], dataset, given[m.of_every_draw][1])
        for name, m in metrics.items()
        if m.resampled
    }
    for group in range(GROUPS):
        out = np.flatnonzero(groups == group)
        rest = dataset.isel(sample=np.delete(np.arange(dataset.sizes["sample"]), test[out]))
        for name, metric in metrics.items():
            numbers = [key for key, value in found[name].data_vars.items() if _resampled(str(key), value)]
            if not metric.resampled or not numbers:
                continue
            samples, by = given[metric.of_every_draw]
            draws = samples.sizes["sample"] // cases
            places = (out[:, None] * draws + np.arange(draws)).ravel()
            again = metric.without(places, found[name], samples, rest, by, pairs[name])
            for key in numbers:
                taken.setdefault(str(key), []).append(again.get(str(key), np.nan))
    return xr.Dataset({f"{PREFIX}{key}": ("replicate", values) for key, values in taken.items()})


def _resampled(name: str, value: xr.DataArray) -> bool:
    largest = name.startswith(("largest_", "relative_violation_", "mean_relative_violation_"))
    return not value.dims and value.attrs.get("better", "neither") != "neither" and not largest

r"""The standard error of a metric over test samples, by the delete-a-group jackknife.

The test cases are divided into G groups, once and identically for every method and seed. A metric t is
computed again with each group left out, of the samples and of the test split. With these replicates t_1 ...
t_G and their mean t',

    v = (G - 1) / G  sum_g (t_g - t')^2

estimates the variance of t over test cases and over the noise of the samples drawn for them (Shao and Tu,
*The Jackknife and Bootstrap*, 1995, chapter 2, https://doi.org/10.1007/978-1-4612-0795-5). Replicates of two
methods leave out the same cases, so the same formula for their difference gives a paired comparison.

A bootstrap draws cases with replacement, so its sets contain copies. A copy is the nearest neighbour of its
original, which biases precision, recall and coverage; the jackknife makes no copies. It cannot estimate the
error of a maximum, which depends on a single sample: largest distances and violations have no replicates.
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
"""Prefix of the names of replicates, before the name of their variable."""
SEED = 20261127


def groups_of(cases: int) -> np.ndarray:
    """The group (cases,) of each test case."""
    return np.random.default_rng(SEED).permutation(cases) % GROUPS


def replicates(
    metrics: Mapping[str, MetricSpec],
    found: Mapping[str, xr.Dataset],
    given: Mapping[bool, tuple[xr.Dataset, EvaluationContext]],
    dataset: xr.Dataset,
    cases: int,
) -> xr.Dataset:
    """The jackknife replicates of the table's values, along `replicate`, named `replicates_<variable>`.

    There are none for fewer than G cases.

    Args:
        metrics: the metrics by name.
        found: the result of each metric for all samples.
        given: the samples and their evaluation context by `of_every_draw`: all samples under True, the first
            sample of each case under False.
        dataset: the dataset, in memory.
        cases: number of test cases.
    """
    import xarray as xr  # imported here so that the Snakefile, which loads this package, starts fast

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
            names = [key for key, value in found[name].data_vars.items() if _resampled(str(key), value)]
            if not metric.resampled or not names:
                continue
            samples, by = given[metric.of_every_draw]
            draws = samples.sizes["sample"] // cases
            places = (out[:, None] * draws + np.arange(draws)).ravel()
            again = metric.without(places, found[name], samples, rest, by, pairs[name])
            for key in names:
                taken.setdefault(str(key), []).append(again.get(str(key), np.nan))
    return xr.Dataset({f"{PREFIX}{key}": ("replicate", values) for key, values in taken.items()})


def _resampled(name: str, value: xr.DataArray) -> bool:
    largest = name.startswith(("largest_", "relative_violation_", "mean_relative_violation_"))
    return not value.dims and value.attrs.get("better", "neither") != "neither" and not largest

"""Pairs of a time series: a state, and the one some steps before that it is to be told from.

Several systems, each with a series of its own or a period of one, are laid side by side: sample i of a split is of system i mod R, so
that R repetitions of one experiment are trained and judged together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets import SplitSizes


def places(splits: SplitSizes, systems: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The system of each sample, and its place among the pairs of that system: train first, then validation, then test.

    Raises:
        ValueError: a split is no whole number of pairs a system.
    """
    sizes = np.array([splits.train, splits.validation, splits.test])
    if (sizes % systems).any():
        raise ValueError(
            f"`splits`: each must be a multiple of the {systems} systems, found {sizes.tolist()}."
        )
    starts = np.concatenate([[0], sizes.cumsum()])
    split = np.searchsorted(starts, indices, side="right") - 1
    within = indices - starts[split]
    return within % systems, starts[split] // systems + within // systems


def series_pairs(
    series: np.ndarray, ahead: int, systems: int, splits: SplitSizes, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Before and after (samples, n), and the system of each, from consecutive periods of a series (T, n).

    Raises:
        ValueError: the series is too short.
    """
    system, place = places(splits, systems, indices)
    needed, period = splits.total // systems + ahead, len(series) // systems
    if needed > period:
        raise ValueError(
            f"{len(series)} steps in {systems} periods are {period} a period, and `splits` with `ahead` ask for {needed}: "
            f"lower them or take fewer `systems`."
        )
    first = system * period + place
    return series[first], series[first + ahead], system


def as_pairs(
    before: np.ndarray, after: np.ndarray, system: np.ndarray, *, nodes: list[str], units: str, title: str
) -> xr.Dataset:
    """The dataset: `state` is the later one, `condition` the earlier, `system` a whole number."""
    import xarray as xr

    return xr.Dataset(
        {
            "state": (("sample", "node"), after.astype(np.float32), {"units": units}),
            "condition": (("sample", "component"), before.astype(np.float32), {"units": units}),
            "system": ("sample", system.astype(np.int64), {"long_name": "system or period"}),
        },
        coords={"node": ("node", nodes)},
        attrs={"title": title},
    )

"""Pairs of states of time series: a state and the earlier state that it is to be predicted from.

R systems, each with its own series or its own period of a series, are interleaved: sample i of a split
belongs to system i mod R. In this way R repetitions of an experiment are trained and evaluated together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets import SplitSizes


def places(splits: SplitSizes, systems: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The system of each sample and its position among the pairs of that system, both (samples,).

    The train pairs of a system come first, then its validation pairs, then its test pairs.

    Args:
        splits: sizes of the splits.
        systems: number of systems.
        indices: indices of the samples.

    Raises:
        ValueError: the size of a split is not a multiple of the number of systems.
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
    """Pairs of states from consecutive periods of a series.

    Args:
        series: the series (T, n).
        ahead: number of steps between the states of a pair.
        systems: number of periods.
        splits: sizes of the splits.
        indices: indices of the samples.

    Returns:
        The earlier states (samples, n), the later states (samples, n) and the system of each pair (samples,).

    Raises:
        ValueError: the series is too short.
    """
    system, place = places(splits, systems, indices)
    needed, period = splits.total // systems + ahead, len(series) // systems
    if needed > period:
        raise ValueError(
            f"{len(series)} steps in {systems} periods are {period} per period, but `splits` and `ahead` "
            f"require {needed}: lower them, or use fewer `systems`."
        )
    first = system * period + place
    return series[first], series[first + ahead], system


def as_pairs(
    before: np.ndarray, after: np.ndarray, system: np.ndarray, *, nodes: list[str], units: str, title: str
) -> xr.Dataset:
    """The dataset of these pairs, with the later state as `state` and the earlier one as `condition`.

    Args:
        before: earlier states (samples, n).
        after: later states (samples, n).
        system: system of each pair (samples,).
        nodes: names of the nodes.
        units: unit of the values.
        title: title of the dataset.
    """
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

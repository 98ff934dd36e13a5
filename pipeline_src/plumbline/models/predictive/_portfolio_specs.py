"""Portfolios from a window of returns: learned ones, trained by the Sharpe ratio that follows, and fixed rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plumbline.coordinates import require_last

if TYPE_CHECKING:
    import xarray as xr


def window_shape(example: xr.Dataset) -> tuple[int, ...]:
    """Days and assets of the windows that portfolios are decided by.

    Raises:
        ValueError: the dataset has no windows, or not of the assets of the state.
    """
    for name in ("window", "future"):
        if name in example:
            require_last(example[name], str(example["state"].dims[-1]), "a portfolio")
        shape = example[name].shape if name in example else ()
        if len(shape) != 3 or example["state"].shape[1:] != shape[2:]:
            raise ValueError(
                f"a portfolio needs a state (sample, asset), `window` and `future` (sample, day, asset), as `sp500_windows` has: "
                f"found `{name}` of the shape {shape}, and a state of the shape {example['state'].shape}."
            )
    return tuple(example["window"].shape[1:])

"""What the specs of the portfolios share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plumbline.coordinates import require_last

if TYPE_CHECKING:
    import xarray as xr


def window_shape(example: xr.Dataset) -> tuple[int, ...]:
    """Days and assets of the windows of returns that portfolios are computed from.

    Raises:
        ValueError: the dataset has no windows, or their assets are not those of the state.
    """
    for name in ("window", "future"):
        if name in example:
            require_last(example[name], str(example["state"].dims[-1]), "a portfolio")
        shape = example[name].shape if name in example else ()
        if len(shape) != 3 or example["state"].shape[1:] != shape[2:]:
            raise ValueError(
                "a portfolio needs a state (sample, asset), `window` and `future` (sample, day, asset), "
                f"as `sp500_windows` has: found `{name}` of the shape {shape}, and a state of the shape "
                f"{example['state'].shape}."
            )
    return tuple(example["window"].shape[1:])

"""The requested attributes of samples, where samplers store them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def requested_attributes(samples: xr.Dataset, names: Iterable[str]) -> np.ndarray | None:
    """Whether each attribute was requested of each sample (samples, C); None if this is not stored."""
    from plumbline.models._labels import WANTED

    variables = [f"{WANTED}_{name}" for name in names]
    if not all(name in samples for name in variables):
        return None
    return np.stack([samples[name].values for name in variables], axis=1) > 0

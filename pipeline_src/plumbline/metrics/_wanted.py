"""What was asked of samples, where it stands beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def wanted_attributes(samples: xr.Dataset, names: Iterable[str]) -> np.ndarray | None:
    """Whether each attribute was wanted of each sample (N, C); None if that does not stand beside the samples."""
    from plumbline.models._labels import WANTED

    told = [f"{WANTED}_{name}" for name in names]
    if not all(name in samples for name in told):
        return None
    return np.stack([samples[name].values for name in told], axis=1) > 0

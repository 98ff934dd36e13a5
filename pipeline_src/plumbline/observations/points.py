"""Observation of a coarse subgrid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from plumbline.observations import ObservationSpec
from plumbline.spec import key


class PointsSpec(ObservationSpec):
    """Observes every n-th point along both axes of the grid, the last two dimensions of a sample."""

    kind: Literal["points"] = "points"
    every: int = key("grid points", ge=1)
    """Spacing n of the observed points along both axes."""

    def chosen(self, sizes: Mapping[str, int]) -> np.ndarray:
        shape = tuple(sizes.values())
        if len(shape) < 2:
            raise ValueError(f"`points` needs samples on a grid, found the shape {shape}.")
        return np.arange(np.prod(shape)).reshape(shape)[..., :: self.every, :: self.every].ravel()

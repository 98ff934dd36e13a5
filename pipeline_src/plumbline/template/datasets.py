"""Datasets of this project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class CirclePointsSpec(DatasetSpec):
    """Points on the unit circle whose angles follow a von Mises distribution around zero."""

    kind: Literal["circle_points"] = "circle_points"
    concentration: float = key(gt=0, default=2.0)
    """Concentration of the angles; the larger, the closer they are to zero."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        # Sample i depends on (seed, i) alone, so that data does not depend on the number of parts.
        angles = np.array(
            [np.random.default_rng([self.seed, int(i)]).vonmises(0.0, self.concentration) for i in indices]
        )
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        return xr.Dataset(
            {"state": (("sample", "coordinate"), points, {"long_name": "coordinate", "units": "1"})},
            coords={"coordinate": ["x", "y"]},
        )

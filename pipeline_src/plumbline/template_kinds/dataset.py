"""The dataset `example`: replace the formula by yours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class ExampleSpec(DatasetSpec):
    """Sine waves of random phase on a periodic grid."""

    kind: Literal["example"] = "example"
    points: int = key(ge=2, default=32)
    """Points of the grid."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        # Sample i depends on (seed, i) alone, so that data does not depend on the number of parts.
        phase = np.array([np.random.default_rng([self.seed, int(i)]).uniform(0, 2 * np.pi) for i in indices])
        x = np.arange(self.points) / self.points
        state = np.sin(2 * np.pi * x + phase[:, None]).astype(np.float32)
        return xr.Dataset(
            {"state": (("sample", "x"), state, {"long_name": "height", "units": "m"})},
            coords={"x": ("x", x, {"units": "m", "period": 1.0})},
        )

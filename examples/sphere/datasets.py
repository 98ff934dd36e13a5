"""Directions around a pole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class DirectionsSpec(DatasetSpec):
    """Points of the unit sphere from a von Mises-Fisher distribution around the north pole.

    The height w = cos(polar angle) has the density proportional to exp(kappa w), whose quantiles are known.
    """

    kind: Literal["directions"] = "directions"
    concentration: float = key(gt=0, default=4.0)
    """Concentration kappa; the larger, the closer directions are to the pole."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        uniform = np.array([np.random.default_rng([self.seed, int(i)]).uniform(size=2) for i in indices])
        kappa = self.concentration
        height = 1 + np.log(uniform[:, 0] + (1 - uniform[:, 0]) * np.exp(-2 * kappa)) / kappa
        radius, angle = np.sqrt(np.clip(1 - height**2, 0, None)), 2 * np.pi * uniform[:, 1]
        points = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
        return xr.Dataset(
            {
                "state": (
                    ("sample", "axis"),
                    points.astype(np.float32),
                    {"long_name": "direction", "units": "1"},
                )
            },
            coords={"axis": ["x", "y", "z"]},
        )

"""Trajectories of a frictionless pendulum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class PendulumSpec(DatasetSpec):
    """Angle and angular velocity over time, theta'' = -sin(theta), by Verlet steps."""

    kind: Literal["pendulum"] = "pendulum"
    times: int = key(ge=2, default=20)
    """Times, from 0 to 6, in units of sqrt(length / gravity)."""
    largest_angle: float = key("rad", gt=0, lt=3.1, default=1.5)
    """Largest initial angle; the pendulum starts at rest."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        start = [np.random.default_rng([self.seed, int(i)]).uniform(-1.0, 1.0) for i in indices]
        angle, velocity = self.largest_angle * np.array(start), np.zeros(len(indices))
        between = 400
        step = 6.0 / (self.times - 1) / between
        states = [np.stack([angle, velocity], axis=1)]
        for _ in range(self.times - 1):
            for _ in range(between):
                half = velocity - step / 2 * np.sin(angle)
                angle = angle + step * half
                velocity = half - step / 2 * np.sin(angle)
            states.append(np.stack([angle, velocity], axis=1))
        state = np.stack(states, axis=2)
        return xr.Dataset(
            {
                "state": (
                    ("sample", "variable", "time"),
                    state.astype(np.float32),
                    {"long_name": "angle, angular velocity"},
                )
            },
            coords={"variable": ["angle", "velocity"], "time": np.linspace(0.0, 6.0, self.times)},
        )

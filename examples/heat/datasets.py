"""Temperature on a ring over time: smooth random initial states under the heat equation, solved exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class HeatRingSpec(DatasetSpec):
    """u(t, x) with u_t = nu u_xx on a ring of length one.

    Fourier mode k decays as exp(-nu (2 pi k)^2 t), so that the total heat, mode 0, is constant.
    """

    kind: Literal["heat_ring"] = "heat_ring"
    diffusivity: float = key("m2/s", gt=0, default=0.005)
    """Diffusivity nu."""
    points: int = key(ge=8, default=32)
    """Points in space."""
    times: int = key(ge=2, default=16)
    """Times, from 0 to 1 s."""
    modes: int = key(ge=1, default=4)
    """Fourier modes of the initial state."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        x, t = np.arange(self.points) / self.points, np.linspace(0.0, 1.0, self.times)
        k = np.arange(1, self.modes + 1)
        decay = np.exp(-self.diffusivity * (2 * np.pi * k) ** 2 * t[:, None])
        waves = np.stack([np.cos(2 * np.pi * k[:, None] * x), np.sin(2 * np.pi * k[:, None] * x)])
        noise = np.stack(
            [np.random.default_rng([self.seed, int(i)]).standard_normal((2, self.modes)) for i in indices]
        )
        mean = np.array([np.random.default_rng([self.seed, int(i), 1]).normal(1.0, 0.3) for i in indices])
        state = mean[:, None, None] + np.einsum("npk,tk,pkx->ntx", noise / k, decay, waves)
        return xr.Dataset(
            {
                "state": (
                    ("sample", "time", "x"),
                    state.astype(np.float32),
                    {"long_name": "temperature", "units": "K"},
                ),
            },
            coords={
                "time": ("time", t, {"units": "s"}),
                "x": ("x", x, {"units": "m", "period": 1.0}),
            },
        )

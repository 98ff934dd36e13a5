r"""Stokes' second problem, the flow above an oscillating plate: a family of solutions with two parameters.

    u(y, t) = 2 exp(-k y) cos(k y - omega t),    y and t in [0, 1],

with k uniform in [2, 20] and omega uniform in [2, 8], as in ECI sampling (Cheng et al. 2025,
https://arxiv.org/abs/2412.01786). What is given is that of the flow with `wavenumber` and `frequency`:

- `initial`: u(y, 0), which is k. omega remains uniform.
- `boundary`: u(0, t), which is omega. k remains uniform.
- `sensor`: u(y_1, t_1) = c at one place of the grid near y = .1 and t = 1/2. With the angle theta = k y_1 -
  omega t_1, u = 2 exp(-k y_1) cos(theta) there. Given theta, du / dk = -y_1 u is constant where u = c, and
  (k, theta) is uniform as (k, omega) is. So theta is uniform where k = log(2 cos(theta) / c) / y_1 and
  omega = (k y_1 - theta) / t_1 are in their ranges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._families import Bounds, FamilySpec, given_values
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

ANGLES = 200_001
"""Number of angles at which the curve of `given: sensor` is tabulated."""


class StokesSpec(FamilySpec):
    """The flow above an oscillating plate, given its start, its boundary or one value."""

    kind: Literal["stokes"] = "stokes"
    given: Literal["initial", "boundary", "sensor"] = "initial"
    """What is known of the flow: all of it at time zero, its values at y = 0, or one value."""
    points: int = key("grid points", ge=8, default=24)
    """Number of grid points above the plate."""
    times: int = key("times", ge=4, default=16)
    """Number of times, from zero to one."""
    wavenumber: float = key("1/length", ge=2, le=20, default=6.0)
    """k of the flow that the given values are from."""
    frequency: float = key("1/time", ge=2, le=8, default=4.0)
    """Its omega."""

    def layout(self) -> tuple[tuple[str, ...], dict[str, str]]:
        return ("time", "y"), {"long_name": "velocity", "units": "1"}

    def bounds(self) -> Bounds:
        return (2.0, 20.0), (2.0, 8.0)

    def fields(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """u (N, times, points) for the wavenumbers p and the frequencies q."""
        y, t = self._axes()
        depth = p[:, None] * y
        return 2 * np.exp(-depth)[:, None] * np.cos(depth[:, None] - q[:, None, None] * t[:, None])

    def given_parameters(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.given == "initial":
            return np.full(len(uniform), self.wavenumber), 2 + 6 * uniform
        if self.given == "boundary":
            return 2 + 18 * uniform, np.full(len(uniform), self.frequency)
        y, t = self._place()
        angle = np.linspace(2 * y - 8 * t, 20 * y - 2 * t, ANGLES)
        inside = self._on_curve(angle, y, t)[2]
        # Steps of the distribution function are cells of the angle, cut where one of their ends is outside.
        steps = (inside[1:] & inside[:-1]).astype(float)
        cumulative = np.concatenate([[0.0], steps.cumsum()])
        k, omega, _ = self._on_curve(np.interp(uniform * cumulative[-1], cumulative, angle), y, t)
        return k, omega

    def coordinates(self) -> xr.Dataset:
        """Adds the flow `given`, and its given values as `matrix` and `target`."""
        import xarray as xr

        y, t = self._axes()
        dims, attrs = self.layout()
        place = dict(zip(("sensor_y", "sensor_time"), self._place(), strict=True))
        reference = self.fields(np.array([self.wavenumber]), np.array([self.frequency]))[0]
        chosen = np.zeros((self.times, self.points), bool)
        if self.given == "initial":
            chosen[0] = True
        elif self.given == "boundary":
            chosen[:, 0] = True
        else:
            chosen[self._indices()] = True
        return xr.Dataset(
            given_values(reference, chosen, dims, attrs),
            coords={
                "y": ("y", y, {"long_name": "distance from the plate", "units": "length"}),
                "time": ("time", t, {"long_name": "time", "units": "time"}),
            },
            attrs={"title": f"Stokes' second problem, given its {self.given}", **place},
        )

    def _on_curve(self, angle: np.ndarray, y: float, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """k and omega at angles, and whether they are in their ranges."""
        value = self.fields(np.array([self.wavenumber]), np.array([self.frequency]))[0]
        ratio = 2 * np.cos(angle) / value[self._indices()]
        k = np.log(np.where(ratio > 0, ratio, 1.0)) / y
        omega = (k * y - angle) / t
        inside = (ratio > 0) & (k >= 2) & (k <= 20) & (omega >= 2) & (omega <= 8)
        return k, omega, inside

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.linspace(0.0, 1.0, self.points), np.linspace(0.0, 1.0, self.times)

    def _indices(self) -> tuple[int, int]:
        return self.times // 2, max(1, round((self.points - 1) / 10))

    def _place(self) -> tuple[float, float]:
        y, t = self._axes()
        time, point = self._indices()
        return float(y[point]), float(t[time])

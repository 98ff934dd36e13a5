r"""Waves that decay by diffusion: a family of solutions of the heat equation with two parameters.

    u(x, t) = sin(x + phi) exp(-alpha t),    x in [0, 2 pi), t in [0, 1],

with the phase phi uniform in [0, pi] and the diffusivity alpha uniform in [1, 5], as in ECI sampling (Cheng
et al. 2025, https://arxiv.org/abs/2412.01786) and PCFM (https://arxiv.org/abs/2506.04171). What is given is
that of the wave with `phase` and `decay`:

- `initial`: u(x, 0), which is the phase. alpha remains uniform in [1, 5].
- `boundary`: u(0, t), which is alpha and sin(phi). The phases phi and pi - phi remain, with equal
  probabilities, since the derivatives of u(0, t) differ in their sign only: two branches.
- `sensor`: u(0, t_1) = c, where t_1 is the first time of the grid from 1/4 on. A curve remains: alpha =
  log(sin(phi) / c) / t_1, where this is in [1, 5]. As du / d alpha = -t_1 c is constant on it, phi is
  uniform there.

The total of u over a period is zero at all times, for all waves. A study may impose the values as
`linear_equality` with `matrix` and `target`, or as `fixed` values of the variable `given`, and the total as
`conserved`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets._families import Bounds, FamilySpec, given_values
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class HeatWavesSpec(FamilySpec):
    """Decaying waves in space and time, given their start, their boundary or one value."""

    kind: Literal["heat_waves"] = "heat_waves"
    given: Literal["initial", "boundary", "sensor"] = "initial"
    """What is known of the wave: all of it at time zero, its values at x = 0, or one of these."""
    points: int = key("grid points", ge=8, multiple_of=4, default=24)
    """Number of grid points in space."""
    times: int = key("times", ge=4, default=16)
    """Number of times, from zero to one."""
    phase: float = key("radians", gt=0, lt=np.pi, default=np.pi / 4)
    """The phase of the wave that the given values are from."""
    decay: float = key("1/time", ge=1, le=5, default=3.0)
    """Its alpha."""

    @model_validator(mode="after")
    def _two_branches(self) -> HeatWavesSpec:
        if self.given == "boundary" and abs(self.phase - np.pi / 2) < 0.05:
            raise ValueError("`phase` must not be pi / 2, where the two branches of `given: boundary` meet")
        return self

    def layout(self) -> tuple[tuple[str, ...], dict[str, str]]:
        return ("time", "x"), {"long_name": "temperature", "units": "K"}

    def bounds(self) -> Bounds:
        return (0.0, np.pi), (1.0, 5.0)

    def fields(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """u (N, times, points) for the phases p and the decay rates q."""
        x, t = self._axes()
        wave = np.sin(x + p[:, None])
        return np.exp(-q[:, None] * t)[:, :, None] * wave[:, None, :]

    def given_parameters(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.given == "initial":
            return np.full(len(uniform), self.phase), 1 + 4 * uniform
        if self.given == "boundary":
            phase = np.where(uniform < 0.5, self.phase, np.pi - self.phase)
            return phase, np.full(len(uniform), self.decay)
        time = self._axes()[1][self._sensor()]
        value = np.sin(self.phase) * np.exp(-self.decay * time)
        low, high = (np.arcsin(min(1.0, value * np.exp(alpha * time))) for alpha in (1.0, 5.0))
        # phi in [low, high], or pi minus that.
        offset = 2 * np.abs(uniform - 0.5) * (high - low)
        left = uniform < 0.5
        phase = np.where(left, high - offset, np.pi - high + offset)
        return phase, np.log(np.sin(phase) / value) / time

    def coordinates(self) -> xr.Dataset:
        """Adds the wave `given`, `matrix` and `target` of its values, and the plane between branches."""
        import xarray as xr

        x, t = self._axes()
        dims, attrs = self.layout()
        reference = self.fields(np.array([self.phase]), np.array([self.decay]))[0]
        chosen = np.zeros((self.times, self.points), bool)
        if self.given == "initial":
            chosen[0] = True
        else:
            chosen[slice(None) if self.given == "boundary" else self._sensor(), 0] = True
        found = xr.Dataset(
            given_values(reference, chosen, dims, attrs),
            coords={
                "x": ("x", x, {"long_name": "position", "units": "1", "period": 2 * np.pi}),
                "time": ("time", t, {"long_name": "time", "units": "time"}),
            },
            attrs={"title": f"decaying waves, given their {self.given}", "sensor_time": t[self._sensor()]},
        )
        if self.given != "boundary":
            return found
        normal = np.zeros((1, self.times, self.points))
        normal[0, 0, self.points // 4] = 1.0  # u(pi / 2, 0) = cos(phi)
        return found.assign(
            branch_normals=(("plane", *dims), normal),
            branch_offsets=(("plane",), np.zeros(1)),
            branch_fractions=(("branch",), np.full(2, 0.5)),
        )

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(self.points) * (2 * np.pi / self.points), np.linspace(0.0, 1.0, self.times)

    def _sensor(self) -> int:
        return int(np.ceil((self.times - 1) / 4))

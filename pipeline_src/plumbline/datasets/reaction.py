r"""A reaction and diffusion whose mass obeys a nonlinear conservation law: a family with two parameters.

u_t = D u_xx + r u (1 - u) on the periodic unit interval (Fisher 1937,
https://doi.org/10.1111/j.1469-1809.1937.tb02153.x), from two bumps of the heights a and b, uniform in [.1,
.7]. With one step of the reaction explicit and of diffusion implicit,

    (1 - s D d^2/dx^2) u_{n+1} = u_n + s r u_n (1 - u_n),

the discrete mass M_n = sum_x u_n satisfies exactly

    M_{n+1} - M_n = s r sum_x u_n (1 - u_n),

which all samples of the family obey, as the equations of PCFM (https://arxiv.org/abs/2506.04171) do in
theirs. Given also the mass at time zero, which is a constant times a + b, a line of the square of (a, b)
remains. The mass is linear in (a, b), so that a is uniform on it. Its ends, one bump high and the other
low, are far apart.

The variables `reaction_step` (s r) and `initial_mass`, one number per sample, serve a study's function for
the constraint `equations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._families import Bounds, FamilySpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

LOW, HIGH = 0.1, 0.7
"""Heights of the bumps."""


class ReactionSpec(FamilySpec):
    """Two bumps that react and diffuse, given a nonlinear law of their mass and the mass at time zero."""

    kind: Literal["reaction"] = "reaction"
    points: int = key("grid points", ge=8, default=24)
    """Number of grid points in space."""
    times: int = key("times", ge=3, default=12)
    """Number of times, from zero to `duration`, and of steps plus one."""
    duration: float = key("time", gt=0, default=1.0)
    """Last time."""
    diffusivity: float = key("length^2/time", gt=0, default=0.002)
    """D, the diffusivity."""
    rate: float = key("1/time", gt=0, default=3.0)
    """r, the rate of the reaction."""
    heights: float = key(gt=2 * LOW, lt=2 * HIGH, default=0.7)
    """a + b of the constrained samples."""

    def layout(self) -> tuple[tuple[str, ...], dict[str, str]]:
        return ("time", "x"), {"long_name": "concentration", "units": "1"}

    def bounds(self) -> Bounds:
        return (LOW, HIGH), (LOW, HIGH)

    def fields(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """u (N, times, points) for bumps of the heights p and q."""
        first, second = self._bumps()
        wavenumber = 2 * np.pi * np.fft.rfftfreq(self.points, 1 / self.points)
        step = self.duration / (self.times - 1)
        damping = 1 / (1 + step * self.diffusivity * wavenumber**2)
        found = np.empty((len(p), self.times, self.points))
        u = found[:, 0] = p[:, None] * first + q[:, None] * second
        for n in range(1, self.times):
            reacted = u + step * self.rate * u * (1 - u)
            u = found[:, n] = np.fft.irfft(damping * np.fft.rfft(reacted, axis=1), self.points, axis=1)
        return found

    def given_parameters(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = max(LOW, self.heights - HIGH), min(HIGH, self.heights - LOW)
        first = low + (high - low) * uniform
        return first, self.heights - first

    def coordinates(self) -> xr.Dataset:
        import xarray as xr

        position = np.arange(self.points) / self.points
        along = {"long_name": "position", "units": "length", "period": 1.0}
        when = {"long_name": "time", "units": "time"}
        return xr.Dataset(
            coords={
                "x": ("x", position, along),
                "time": ("time", np.linspace(0.0, self.duration, self.times), when),
            },
            attrs={"title": "reaction and diffusion with a nonlinear law of mass"},
        )

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        """Adds `reaction_step` and `initial_mass`."""
        drawn = super().draw(indices, splits)
        step = self.duration / (self.times - 1) * self.rate
        mass = self.heights * self._bumps()[0].sum()
        each = np.ones(len(indices))
        return drawn.assign(
            reaction_step=("sample", step * each), initial_mass=("sample", mass * each, {"units": "1"})
        )

    def _bumps(self) -> tuple[np.ndarray, np.ndarray]:
        """Two bumps of equal shape and the height one, with the same sum on any grid."""
        position = np.arange(self.points) / self.points
        first = np.exp(4 * (np.cos(2 * np.pi * (position - 0.25)) - 1))
        second = np.exp(4 * (np.cos(2 * np.pi * (position - 0.75)) - 1))
        return first, second * (first.sum() / second.sum())

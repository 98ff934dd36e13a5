r"""Velocity trajectories of two-dimensional Kolmogorov flow.

Initial vorticities are random, with an energy spectrum that peaks at a given wavenumber, and are scaled to a
given top speed. A sinusoidal force drives the flow and a linear drag damps it. States are recorded at equal
intervals, starting at a time at which the flow no longer depends on its initial condition.

The defaults follow Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816): Reynolds number
1000 on a square of side 2 pi, force of wavenumber 4 and amplitude 1, drag 0.1, states every 0.2 from time 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

SIDE = 2 * np.pi
BATCH = 32


class KolmogorovSpec(DatasetSpec):
    """Velocities (time, component, x, y) of forced 2-D turbulence on a periodic square of side 2 pi."""

    kind: Literal["kolmogorov"] = "kolmogorov"
    points: int = key("grid points", ge=16, default=64)
    """Grid points in each direction."""
    times: int = key("states", ge=1, default=8)
    """Number of states in a trajectory."""
    start: float = key("time", ge=0, default=3.0)
    """Time of the first state."""
    spacing: float = key("time", gt=0, default=0.2)
    """Time between states."""
    reynolds: float = key(gt=0, default=1000.0)
    """Reynolds number, the inverse of the viscosity."""
    forcing_wavenumber: int = key("waves", ge=1, default=4)
    """Number of waves of the force along a side."""
    forcing_amplitude: float = key("length/time^2", ge=0, default=1.0)
    """Amplitude of the force."""
    drag: float = key("1/time", ge=0, default=0.1)
    """Coefficient of the linear drag."""
    peak_wavenumber: float = key("waves", gt=0, default=4.0)
    """Wavenumber at which the initial energy spectrum peaks."""
    top_speed: float = key("length/time", gt=0, default=3.0)
    """Largest initial speed."""
    max_step: float = key("time", gt=0, default=0.01)
    """Longest time step of the solver."""
    derivative: Literal["spectral", "backward"] = "spectral"
    """Discrete derivative by which the velocities are free of divergence: that of the solver, in Fourier
    space, or backward differences as on a staggered grid (published), by projection. Give the constraint
    `divergence_free` the same."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import torch
        import xarray as xr

        from plumbline.constraints import BackwardDivergence
        from plumbline.solvers import kolmogorov

        times = self.start + self.spacing * np.arange(self.times)
        velocities = []
        for batch in np.array_split(indices, -(-len(indices) // BATCH)):
            vorticity = kolmogorov.solve(
                torch.from_numpy(self.initial_vorticities(batch)),
                torch.from_numpy(times),
                length=SIDE,
                viscosity=1 / self.reynolds,
                drag=self.drag,
                forcing_amplitude=self.forcing_amplitude,
                forcing_wavenumber=self.forcing_wavenumber,
                max_step=self.max_step,
            )
            velocity = kolmogorov.velocity(vorticity, length=SIDE)
            if self.derivative == "backward":
                velocity = BackwardDivergence(length=SIDE).project(velocity)
            velocities.append(velocity.numpy().astype(np.float32))
        grid = SIDE / self.points * np.arange(self.points)
        axis = {"units": "length", "period": SIDE}
        return xr.Dataset(
            {
                "state": (
                    ("sample", "time", "component", "x", "y"),
                    np.concatenate(velocities),
                    {"long_name": "velocity", "units": "length/time"},
                )
            },
            coords={
                "time": ("time", times, {"units": "time", "long_name": "time"}),
                "component": ("component", ["u", "v"], {"long_name": "velocity component"}),
                "x": ("x", grid, {**axis, "long_name": "position along x"}),
                "y": ("y", grid, {**axis, "long_name": "position along y"}),
            },
            attrs={
                "viscosity": 1 / self.reynolds,
                "drag": self.drag,
                "forcing_amplitude": self.forcing_amplitude,
                "forcing_wavenumber": self.forcing_wavenumber,
                "title": "Kolmogorov flow",
            },
        )

    def sample_bytes(self) -> int:
        return 4 * self.times * 2 * self.points**2

    def initial_vorticities(self, indices: np.ndarray) -> np.ndarray:
        """Random vorticities whose energy spectrum peaks at `peak_wavenumber`.

        Args:
            indices: consecutive indices of the samples.

        Returns:
            float64 (samples, points, points), scaled so that the largest speed of each is `top_speed`.
        """
        import torch

        from plumbline.datasets._random import normals
        from plumbline.solvers import kolmogorov

        noise = normals(self.seed, indices, self.points**2).reshape(-1, self.points, self.points)
        kx = np.fft.fftfreq(self.points, 1 / self.points)[:, None]
        ky = np.fft.rfftfreq(self.points, 1 / self.points)[None, :]
        wavenumber = np.hypot(kx, ky)
        ratio = wavenumber / self.peak_wavenumber
        # White noise times this is the vorticity of a flow with the energy spectrum k^4 exp(-2 (k/peak)^2).
        envelope = wavenumber * ratio**1.5 * np.exp(-(ratio**2))
        envelope[wavenumber > (self.points - 1) // 3] = 0.0
        vorticity = torch.from_numpy(np.fft.irfft2(np.fft.rfft2(noise) * envelope, s=noise.shape[1:]))
        speed = kolmogorov.velocity(vorticity, length=SIDE).norm(dim=1).amax((1, 2))
        return (vorticity * (self.top_speed / speed)[:, None, None]).numpy()

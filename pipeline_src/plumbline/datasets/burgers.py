r"""Trajectories of the 1-D viscous Burgers equation from random initial conditions.

Initial conditions are periodic Gaussian fields with the Matern spectrum

    S(k) ~ (2 nu / l^2 + k^2)^{-(nu + 1/2)},

smoothness nu and correlation length l, kept to the modes that the solver resolves, and scaled, each by
itself, to the range [0, 1]. A sample is the trajectory at equally spaced times; the initial condition is
not part of it. Setting: Feng, Baptista, Bouman (ICLR 2025), with a periodic field in place of one cut off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class BurgersSpec(DatasetSpec):
    """Trajectories u(time, x) of the viscous Burgers equation on a periodic interval."""

    kind: Literal["burgers"] = "burgers"
    points: int = key("grid points", ge=8, default=64)
    """Grid points in space."""
    times: int = key("states", ge=2, default=64)
    """States of a trajectory."""
    duration: float = key("time", gt=0, default=8.0)
    """Time of the last state; the first is at duration / times."""
    length: float = key("length", gt=0, default=10.0)
    """Period of the domain."""
    viscosity: float = key("length^2/time", gt=0, default=0.05)
    """Kinematic viscosity."""
    smoothness: float = key(gt=0, default=1.5)
    """Matern smoothness of the initial conditions."""
    correlation_length: float = key("length", gt=0, default=1.0)
    """Matern correlation length of the initial conditions."""
    max_step: float = key("time", gt=0, default=0.05)
    """Longest time step of the solver."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import torch
        import xarray as xr

        from plumbline.solvers import burgers

        del splits
        times = self.duration / self.times * np.arange(1, self.times + 1)
        solution = burgers.solve(
            torch.from_numpy(self.initial_conditions(indices)),
            torch.from_numpy(times),
            length=self.length,
            viscosity=self.viscosity,
            max_step=self.max_step,
        )
        state = solution.numpy().astype(np.float32)
        x = self.length / self.points * np.arange(self.points)
        return xr.Dataset(
            {"state": (("sample", "time", "x"), state, {"long_name": "velocity", "units": "length/time"})},
            coords={
                "time": ("time", times, {"units": "time", "long_name": "time"}),
                "x": ("x", x, {"units": "length", "long_name": "position", "period": self.length}),
            },
            attrs={"viscosity": self.viscosity, "title": "Burgers trajectories"},
        )

    def initial_conditions(self, indices: np.ndarray) -> np.ndarray:
        """Band-limited periodic Matern fields, each scaled to [0, 1], float64 (samples, points)."""
        from plumbline.datasets.drawing import normals

        modes = (self.points - 1) // 3 + 1
        wavenumber = 2 * np.pi / self.length * np.arange(modes)
        exponent = -(self.smoothness + 0.5) / 2
        amplitude = (2 * self.smoothness / self.correlation_length**2 + wavenumber**2) ** exponent
        parts = normals(self.seed, indices, 2 * modes).reshape(-1, 2, modes)
        spectrum = amplitude * (parts[:, 0] + 1j * parts[:, 1])
        field = np.fft.irfft(spectrum, n=self.points)
        lowest = field.min(-1, keepdims=True)
        return (field - lowest) / (field.max(-1, keepdims=True) - lowest)

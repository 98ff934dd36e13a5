r"""Trajectories of the 1-D viscous Burgers equation from random initial conditions.

Initial conditions are periodic Gaussian fields with the Matern spectrum

    S(k) ~ (2 nu / l^2 + k^2)^{-(nu + 1/2)},

with smoothness nu and correlation length l. They are restricted to the modes that the solver resolves, and
each is scaled to the range [0, 1]. A sample is the trajectory at equally spaced times, without the initial
condition. The defaults follow Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816), except
that their initial fields are not periodic.

To reproduce their data exactly, set `initial: interval` (fields with the same covariance that are not
periodic), `discretisation: differences` and `length` to 10 x 64 / 63, because their periodic grid contains
both ends of an interval of length ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class BurgersSpec(DatasetSpec):
    """Trajectories u(time, x) of the viscous Burgers equation on a periodic interval."""

    kind: Literal["burgers"] = "burgers"
    points: int = key("grid points", ge=8, default=64)
    """Number of grid points in space."""
    times: int = key("states", ge=2, default=64)
    """Number of states in a trajectory."""
    duration: float = key("time", gt=0, default=8.0)
    """Time of the last state; the first is at duration / times."""
    length: float = key("length", gt=0, default=10.0)
    """Period of the domain."""
    viscosity: float = key("length^2/time", gt=0, default=0.05)
    """Kinematic viscosity."""
    smoothness: float = key(gt=0, default=1.5)
    """Matern smoothness nu of the initial conditions."""
    correlation_length: float = key("length", gt=0, default=1.0)
    """Matern correlation length l of the initial conditions."""
    initial: Literal["periodic", "interval"] = "periodic"
    """Whether the initial field is periodic, or an interval of a field on the real line, with a jump."""
    discretisation: Literal["spectral", "differences"] = "spectral"
    """Fourier spectral method, or central differences with explicit Euler steps (published)."""
    max_step: float = key("time", gt=0, default=0.05)
    """Longest time step of the solver (published: 0.025)."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import torch
        import xarray as xr

        times = self.duration / self.times * np.arange(1, self.times + 1)
        state = self.trajectories(torch.from_numpy(self.initial_conditions(indices)), times)
        x = self.length / self.points * np.arange(self.points)
        return xr.Dataset(
            {
                "state": (
                    ("sample", "time", "x"),
                    state.numpy().astype(np.float32),
                    {"long_name": "velocity", "units": "length/time"},
                )
            },
            coords={
                "time": ("time", times, {"units": "time", "long_name": "time"}),
                "x": ("x", x, {"units": "length", "long_name": "position", "period": self.length}),
            },
            attrs={"viscosity": self.viscosity, "title": "Burgers trajectories"},
        )

    def sample_bytes(self) -> int:
        return 4 * self.times * self.points

    def trajectories(self, initial: Tensor, times: np.ndarray) -> Tensor:
        """Solves the equation.

        Args:
            initial: initial conditions (samples, points).
            times: times of the states (times,), equally spaced.

        Returns:
            The states (samples, times, points).
        """
        import torch

        from plumbline.solvers import burgers, burgers_differences

        length, viscosity = self.length, self.viscosity
        if self.discretisation == "spectral":
            return burgers.solve(
                initial, torch.from_numpy(times), length=length, viscosity=viscosity, max_step=self.max_step
            )
        spacing = self.duration / self.times
        every = burgers_differences.steps_between(spacing, self.max_step)
        states = burgers_differences.solve(
            initial, self.times, every, step=spacing / every, length=length, viscosity=viscosity
        )
        return states[:, 1:]

    def initial_conditions(self, indices: np.ndarray) -> np.ndarray:
        """Initial conditions of these samples, each scaled to [0, 1], float64 (samples, points)."""
        field = self.periodic_fields(indices) if self.initial == "periodic" else self.fields(indices)
        lowest = field.min(-1, keepdims=True)
        return (field - lowest) / (field.max(-1, keepdims=True) - lowest)

    def fields(self, indices: np.ndarray) -> np.ndarray:
        """Gaussian fields with the Matern covariance on the real line (samples, points)."""
        from sklearn.gaussian_process.kernels import Matern

        from plumbline.datasets._random import normals

        x = self.length / self.points * np.arange(self.points)
        covariance = Matern(length_scale=self.correlation_length, nu=self.smoothness)(x[:, None])
        return normals(self.seed, indices, self.points) @ np.linalg.cholesky(covariance).T

    def periodic_fields(self, indices: np.ndarray) -> np.ndarray:
        """Band-limited periodic Gaussian fields with the Matern spectrum (samples, points)."""
        from plumbline.datasets._random import normals

        modes = (self.points - 1) // 3 + 1
        wavenumber = 2 * np.pi / self.length * np.arange(modes)
        exponent = -(self.smoothness + 0.5) / 2
        amplitude = (2 * self.smoothness / self.correlation_length**2 + wavenumber**2) ** exponent
        parts = normals(self.seed, indices, 2 * modes).reshape(-1, 2, modes)
        spectrum = amplitude * (parts[:, 0] + 1j * parts[:, 1])
        return np.fft.irfft(spectrum, n=self.points)

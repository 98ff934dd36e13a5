r"""Pressures of steady Darcy flow through random media of two materials.

In the unit square,

    -div( a grad u ) = f,    u = 0 on the boundary,

where the permeability a takes one value where a Gaussian field is positive and another where it is negative.
The field has the covariance (-Laplace + tau^2)^(-alpha) with zero normal derivatives at the boundary. The
state is the pressure u, and the condition is the permeability, a field on the same grid. As a determines u,
the exact conditional distribution of the pressure is a single point.

The defaults are those of Li et al. (2021, appendix A.3.2), https://arxiv.org/abs/2010.08895, except for the
resolution (theirs: 421 x 421).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

MODES = 32
"""Cosines along each axis that the Gaussian field consists of, so that it does not depend on the grid."""


class DarcySpec(DatasetSpec):
    """Pressure of steady Darcy flow, with the permeability as the condition: a field of two values."""

    kind: Literal["darcy"] = "darcy"
    points: int = key("grid points", ge=4, default=32)
    """Number of grid points along each axis, with those on the boundary."""
    low: float = key(gt=0, default=3.0)
    """Permeability where the Gaussian field is negative."""
    high: float = key(gt=0, default=12.0)
    """Permeability where the Gaussian field is positive."""
    inverse_length: float = key("1/length", gt=0, default=3.0)
    """tau, the inverse of the correlation length of the Gaussian field."""
    smoothness: float = key(gt=1, default=2.0)
    """alpha, the exponent of the covariance of the Gaussian field."""
    forcing: float = key(default=1.0)
    """f, the source of fluid per area."""

    @model_validator(mode="after")
    def _something_flows(self) -> DarcySpec:
        if self.forcing == 0:
            raise ValueError("`forcing` must not be zero: the pressure would be zero")
        return self

    def has_condition(self) -> bool:
        return True

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        from plumbline.solvers import darcy

        permeability = self.permeabilities(indices)
        pressure = darcy.solve(permeability, self.forcing)
        position = np.linspace(0.0, 1.0, self.points)
        along = {"units": "length", "long_name": "position"}
        return xr.Dataset(
            {
                "state": (
                    ("sample", "x", "y"),
                    pressure.astype(np.float32),
                    {"long_name": "pressure", "units": "pressure"},
                ),
                "condition": (
                    ("sample", "x", "y"),
                    permeability.astype(np.float32),
                    {"long_name": "permeability", "units": "length^2/time/pressure"},
                ),
            },
            coords={"x": ("x", position, along), "y": ("y", position, along)},
            attrs={"forcing": self.forcing, "title": "Darcy flow"},
        )

    def sample_bytes(self) -> int:
        return 2 * 4 * self.points**2

    def permeabilities(self, indices: np.ndarray) -> np.ndarray:
        """The permeabilities of these samples, float64 (samples, points, points)."""
        return np.where(self.fields(indices) > 0, self.high, self.low)

    def fields(self, indices: np.ndarray) -> np.ndarray:
        """The Gaussian fields whose signs choose the material, float64 (samples, points, points)."""
        from plumbline.datasets._random import normals

        wavenumber = np.pi * np.arange(MODES)
        squared = wavenumber[:, None] ** 2 + wavenumber[None, :] ** 2
        amplitude = (squared + self.inverse_length**2) ** (-self.smoothness / 2)
        coefficients = amplitude * normals(self.seed, indices, MODES**2).reshape(-1, MODES, MODES)
        # Eigenfunctions of the Laplacian with zero normal derivatives, of unit norm.
        waves = np.cos(np.outer(np.linspace(0.0, 1.0, self.points), wavenumber))
        waves[:, 1:] *= np.sqrt(2.0)
        return waves @ coefficients @ waves.T

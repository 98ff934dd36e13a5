r"""Independent Gamma variables given their sum: the Dirichlet distribution on the simplex.

If x_i are independent Gamma variables with the shapes a_i and one scale, x / sum(x) follows the Dirichlet
distribution with the parameters a_i and is independent of the sum (Lukacs 1955,
https://doi.org/10.1214/aoms/1177728549). Given sum(x) = 1, x therefore follows this distribution. With A =
sum(a_i), its moments are

    E x_i = a_i / A,    Cov(x_i, x_j) = (a_i (i = j) - a_i a_j / A) / (A (A + 1)).

Shapes below one put most of the mass near faces and corners of the simplex. The unconstrained variables
have the scale `scale`; the default makes the expected sum one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from plumbline.datasets._exact import ExactConditionalSpec, Numbers
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

SMALLEST = 1e-30
"""Smallest value of a Gamma variable, since the sum of all must not be zero."""


class DirichletSpec(ExactConditionalSpec):
    """Independent Gamma variables given that their sum is one."""

    kind: Literal["dirichlet"] = "dirichlet"
    shapes: tuple[Annotated[float, Field(ge=0.05, le=1e4)], ...] = Field(
        default=(0.6, 1.0, 2.0, 4.0), min_length=2
    )
    """The a_i, one per coordinate."""
    scale: float | None = key(gt=0, default=None)
    """Scale of the Gamma variables; null for 1 / sum of `shapes`."""

    def known(self) -> xr.Dataset:
        from plumbline.datasets._mixtures import with_coordinates

        shapes = np.array(self.shapes)
        mean = shapes / shapes.sum()
        covariance = (np.diag(mean) - np.outer(mean, mean)) / (1 + shapes.sum())
        return with_coordinates(
            {
                "conditional_mean": (("coordinate",), mean),
                "conditional_covariance": (("coordinate", "other"), covariance),
            },
            "Gamma variables given their sum",
        )

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        return self._gammas(numbers) * (self.scale or 1 / sum(self.shapes))

    def constrained(self, numbers: Numbers) -> np.ndarray:
        gammas = self._gammas(numbers)
        return gammas / gammas.sum(1, keepdims=True)

    def _gammas(self, numbers: Numbers) -> np.ndarray:
        """Gamma variables (N, n) of the scale one, as quantiles of uniform random numbers."""
        from scipy.special import gammaincinv

        found: np.ndarray = gammaincinv(np.array(self.shapes), numbers.uniforms(len(self.shapes)))
        return found.clip(min=SMALLEST)

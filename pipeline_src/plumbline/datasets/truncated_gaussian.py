r"""A correlated Gaussian restricted to half-spaces, a box, or both.

The distribution given a_i . x >= c_i for all i has the Gaussian density where these hold and zero
elsewhere. It puts no mass on the walls, unlike the projection of unconstrained samples. Exact samples are
those of the Gaussian that satisfy the inequalities (rejection sampling).

For one or two half-spaces, and no box, the moments are known up to quadrature on a line. y = A x is a
truncated Gaussian of one or two dimensions. x given y is Gaussian with the mean m + G (y - A m), for G = S
A^T (A S A^T)^{-1}, and the covariance S - G A S. With the moments of y,

    E x = m + G (E y - A m),        Cov x = S - G A S + G Cov(y) G^T

(Tallis 1961, https://doi.org/10.1111/j.2517-6161.1961.tb00408.x). The moments of y given y_2 >= c_2 follow
from those of a truncated normal for each y_1 (Johnson, Kotz and Balakrishnan 1994, *Continuous Univariate
Distributions*, volume 1, section 13.10.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from plumbline.datasets._exact import ExactConditionalSpec, Numbers, first_accepted
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets._mixtures import GaussianMixture

Probability = Annotated[float, Field(gt=0, lt=1)]
WALLS = ((1.0, 0, 0, 0, 0, 0, 0, 0), (0, 0, 0, -1.0, 0, 0, 0, -1.0))
PILOT = 20_000
"""Number of samples that the acceptance rate is estimated from."""
FEWEST = 10
"""Number of these that must be accepted."""
NODES, REACH = 400, 9.0
"""Number of nodes of the quadrature, and the standard deviations that it covers above mean and wall."""


class TruncatedGaussianSpec(ExactConditionalSpec):
    """A Gaussian with exponentially correlated coordinates of unequal scale, in half-spaces and a box.

    It is the Gaussian of the dataset `gaussian`.
    """

    kind: Literal["truncated_gaussian"] = "truncated_gaussian"
    dimension: int = key(ge=2, default=8)
    """Dimension n of a sample."""
    correlation: float = key(ge=0, le=0.9999, default=0.6)
    """Correlation of neighbouring coordinates."""
    largest_scale: float = key(ge=1e-6, le=1e6, default=3.0)
    """Standard deviation of the last coordinate; the first has one, the others are spaced geometrically."""
    normals: tuple[tuple[float, ...], ...] = WALLS
    """The a_i: one row of n numbers per half-space a . x >= c; an empty list for none."""
    quantiles: tuple[Probability, ...] = (0.7, 0.6)
    """The probability that a_i . x < c_i, which sets c_i: one number per half-space."""
    box: tuple[float, float] | None = None
    """Lower and upper bound of each coordinate, in its standard deviations from its mean; null for no box."""

    @model_validator(mode="after")
    def _a_set(self) -> TruncatedGaussianSpec:
        if not self.normals and self.box is None:
            raise ValueError("give `normals` of half-spaces, a `box`, or both")
        if wrong := [row for row in self.normals if len(row) != self.dimension or not any(row)]:
            raise ValueError(
                f"each row of `normals` needs {self.dimension} numbers that are not all zero, as `dimension` "
                f"says, found {list(wrong[0])}"
            )
        if len(self.quantiles) != len(self.normals):
            raise ValueError(
                f"`quantiles` has {len(self.quantiles)} numbers, and `normals` {len(self.normals)} rows"
            )
        if self.box is not None and self.box[0] >= self.box[1]:
            raise ValueError(f"`box` must have a lower and an upper bound, found {list(self.box)}")
        return self

    def known(self) -> xr.Dataset:
        """Adds `matrix` and `limit`, for matrix x <= limit, and `lower` and `upper` of a box."""
        from plumbline.datasets._mixtures import with_coordinates

        gaussian = self.gaussian()
        variables = gaussian.variables()
        if self.normals:
            matrix, limit = self.half_spaces()
            variables |= {
                "matrix": (("half_space", "coordinate"), -matrix),
                "limit": (("half_space",), -limit),
            }
        if self.box is not None:
            lower, upper = self.bounds()
            variables |= {"lower": (("coordinate",), lower), "upper": (("coordinate",), upper)}
        if self.box is None and len(self.normals) <= 2:
            mean, covariance = self.moments()
            variables |= {
                "conditional_mean": (("coordinate",), mean),
                "conditional_covariance": (("coordinate", "other"), covariance),
            }
        return with_coordinates(variables, "truncated Gaussian")

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        gaussian = self.gaussian()
        return gaussian.means[0] + numbers.normals(self.dimension) @ gaussian.factors[0].T

    def constrained(self, numbers: Numbers) -> np.ndarray:
        """The first sample of the Gaussian that satisfies the inequalities.

        Raises:
            ValueError: they are too unlikely.
        """
        from scipy.special import ndtri

        gaussian = self.gaussian()
        factor, mean = gaussian.factors[0], gaussian.means[0]

        def propose(uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            x = mean + ndtri(uniform) @ factor.T
            return x, self.contains(x)

        pilot = propose(np.random.default_rng(self.seed).random((PILOT, self.dimension)))[1].sum()
        if pilot < FEWEST:
            raise ValueError(
                f"`truncated_gaussian`: only {pilot} of {PILOT} samples of the Gaussian satisfy the "
                "inequalities: choose smaller `quantiles` or a larger `box`."
            )
        tries = int(np.ceil(3 * PILOT / pilot))
        return first_accepted(numbers, self.dimension, propose, tries=tries, stream=1)

    def contains(self, x: np.ndarray) -> np.ndarray:
        """Whether each point (N, n) satisfies the inequalities, (N,)."""
        inside = np.ones(len(x), bool)
        if self.normals:
            matrix, limit = self.half_spaces()
            inside &= (x @ matrix.T >= limit).all(1)
        if self.box is not None:
            lower, upper = self.bounds()
            inside &= ((x >= lower) & (x <= upper)).all(1)
        return inside

    def gaussian(self) -> GaussianMixture:
        """The Gaussian without the inequalities, as a mixture of one component."""
        from plumbline.datasets._mixtures import GaussianMixture
        from plumbline.datasets.gaussian import correlated

        mean, covariance = correlated(self.dimension, self.correlation, self.largest_scale)
        return GaussianMixture(np.ones(1), mean[None], covariance[None])

    def half_spaces(self) -> tuple[np.ndarray, np.ndarray]:
        """A (m, n) and c (m,) of A x >= c."""
        from scipy.special import ndtri

        gaussian, matrix = self.gaussian(), np.array(self.normals)
        spread = np.sqrt(np.einsum("mi,ij,mj->m", matrix, gaussian.covariances[0], matrix))
        return matrix, matrix @ gaussian.means[0] + spread * ndtri(self.quantiles)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds (n,) of the box."""
        assert self.box is not None
        gaussian = self.gaussian()
        std = np.sqrt(gaussian.covariances[0].diagonal())
        return gaussian.means[0] + self.box[0] * std, gaussian.means[0] + self.box[1] * std

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (n,) and covariance (n, n) in one or two half-spaces."""
        gaussian = self.gaussian()
        mean, covariance = gaussian.means[0], gaussian.covariances[0]
        matrix, limit = self.half_spaces()
        of_rows = matrix @ covariance @ matrix.T
        gain = covariance @ matrix.T @ np.linalg.inv(of_rows)
        row_mean, row_covariance = truncated_moments(matrix @ mean, of_rows, limit)
        return (
            mean + gain @ (row_mean - matrix @ mean),
            covariance - gain @ matrix @ covariance + gain @ row_covariance @ gain.T,
        )


def truncated_moments(
    mean: np.ndarray, covariance: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean (m,) and covariance (m, m) of N(mean, covariance) given y >= limit, for m of one or two."""
    from scipy.special import log_ndtr

    std = np.sqrt(covariance.diagonal())
    start = (limit[0] - mean[0]) / std[0]
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    end = max(start, 0.0) + REACH
    z = start + (nodes + 1) / 2 * (end - start)
    log_mass = np.log(weights) - z**2 / 2
    y = [mean[0] + std[0] * z]
    squares = [y[0] ** 2]
    if len(mean) == 2:
        slope = covariance[0, 1] / std[0]
        rest = np.sqrt(covariance[1, 1] - slope**2)
        center = mean[1] + slope * z
        wall = (limit[1] - center) / rest
        log_tail = log_ndtr(-wall)
        hazard = np.exp(-(wall**2) / 2 - 0.5 * np.log(2 * np.pi) - log_tail)
        y.append(center + rest * hazard)
        squares.append(y[1] ** 2 + rest**2 * (1 + wall * hazard - hazard**2))
        log_mass = log_mass + log_tail
    mass = np.exp(log_mass - log_mass.max())
    mass /= mass.sum()
    first = np.array([mass @ each for each in y])
    second = np.outer(first, first)
    for i in range(len(mean)):
        for j in range(len(mean)):
            second[i, j] = mass @ (squares[i] if i == j else y[i] * y[j])
    return first, second - np.outer(first, first)

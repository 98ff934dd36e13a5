r"""A bent mixture of Gaussians in six dimensions on an ellipsoid and a product, with several branches.

Three correlated Gaussians are bent along x_1: c (x_1^2 - .7) is added to x_4. Each is made of Gaussians
that are narrow in x_1, within which the parabola is replaced by its tangent, so that the whole is a mixture
of Gaussians with a known denoiser. The feasible set is

    h_1 = (x^T D x - R^2) / 2 = 0,    h_2 = x_1 x_2 + x_3 - .3 = 0,    D diagonal.

For given (x_1, x_2), h_2 says x_3, and the remaining three coordinates lie on an ellipsoid: with v_i =
sqrt(D_i) x_i for i = 4, 5, 6, on the sphere |v| = r, where r^2 = R^2 - D_1 x_1^2 - D_2 x_2^2 - D_3 x_3^2.
As dh_2 / dx_3 = 1, and the surface measure of the sphere is r^2 dW for a solid angle dW, the distributions
of (x_1, x_2, W) have the densities

    conditioning:  p(x) r,        restriction:  p(x) r sqrt(det J J^T)

for the density p of the mixture (`plumbline.datasets._exact` explains the two). r^2 is a quadratic function
of x_2 with a maximum, and so is that maximum nearly one of x_1. With x_1 = X sin(s) and x_2 = c(x_1) +
w(x_1) sin(t), all is smooth up to the edges. Moments and the probabilities of the branches, which are the
signs of x_1 and x_2, are then known to 1e-4 by Gaussian quadrature. Exact samples are drawn by rejection
from a histogram above the density; where it is not above, less than 1e-4 of the probability is cut off.
Tests measure both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets._cells import Histogram, in_chunks
from plumbline.datasets._exact import Distribution, ExactConditionalSpec, Numbers, first_accepted
from plumbline.spec import LARGEST_SEED, key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets._mixtures import GaussianMixture

WEIGHTS = (0.5, 0.3, 0.2)
D = 2 / np.array([1.0, 1.2, 0.9, 1.1, 1.0, 0.8]) ** 2
"""The diagonal of D."""
SQUARED_SIZE = 5.0
"""R^2."""
PRODUCT = 0.3
SLICES, REACH = 13, 3.0
"""Number of narrow Gaussians of each component, along x_1, and how far they reach in standard deviations."""
SIDES, MARGIN = (24, 24, 10, 12), 1.5
"""Cells of the histogram along each axis, and its height above the density."""
NODES = (20, 20, 12, 20)
"""Nodes of the quadrature: for each sign of x_1 and x_2, for v_6 / r, and for the angle of (v_4, v_5)."""


class BentMixtureSpec(ExactConditionalSpec):
    """Three bent Gaussians in six dimensions given two quadratic equations.

    Its branches are the signs of x_1 and x_2.
    """

    kind: Literal["bent_mixture"] = "bent_mixture"
    distribution: Distribution = "conditioning"
    """Which distribution on the surface: `conditioning` on h = 0, or `restriction` of the density."""
    bend: float = key(ge=0, default=0.6)
    """c, the curvature of the bend."""
    problem_seed: int = key(ge=0, le=LARGEST_SEED, default=3)
    """Random seed of the means and covariances of the three Gaussians."""

    def known(self) -> xr.Dataset:
        """Adds the equations as `quadratic_matrices`, `quadratic_vectors` and `quadratic_constants`."""
        from plumbline.datasets._mixtures import with_coordinates

        surface = self.surface()
        mean, covariance, fractions = surface.moments
        row = ("equation", "coordinate")
        return with_coordinates(
            {
                **surface.mixture.variables(),
                "quadratic_matrices": ((*row, "other"), surface.matrices),
                "quadratic_vectors": (row, surface.vectors),
                "quadratic_constants": (("equation",), surface.constants),
                "branch_normals": (("plane", "coordinate"), np.eye(6)[:2]),
                "branch_offsets": (("plane",), np.zeros(2)),
                "branch_fractions": (("branch",), fractions),
                "conditional_mean": (("coordinate",), mean),
                "conditional_covariance": (("coordinate", "other"), covariance),
            },
            f"bent mixture of Gaussians on a quadratic surface, by {self.distribution}",
        )

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        return self.surface().mixture.draw(numbers.uniforms(1)[:, 0], numbers.normals(6, 1))[0]

    def constrained(self, numbers: Numbers) -> np.ndarray:
        surface = self.surface()

        def propose(uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            places, height = surface.histogram.propose(uniform[:, :5])
            return surface.points(places)[0], uniform[:, 5] * height <= surface.density(places)

        return first_accepted(numbers, 6, propose, tries=6, stream=2)

    def surface(self) -> BentSurface:
        """The mixture on its surface."""
        return _surface(self.problem_seed, self.bend, self.distribution)


@lru_cache(maxsize=2)
def _surface(seed: int, bend: float, distribution: Distribution) -> BentSurface:
    return BentSurface(bent_mixture(seed, bend), distribution)


def bent_mixture(seed: int, bend: float) -> GaussianMixture:
    """The bent mixture of 3 x SLICES Gaussians."""
    from plumbline.datasets._mixtures import GaussianMixture

    generator = np.random.default_rng(seed)
    centers = generator.normal(0, 0.8, (3, 6))
    factors = [
        np.tril(generator.normal(0, 0.35, (6, 6)), -1) + np.diag(generator.uniform(0.3, 0.7, 6))
        for _ in range(3)
    ]
    # A standard normal number is nearly the sum of one on an even grid and of a narrow normal one.
    grid = np.linspace(-REACH, REACH, SLICES)
    narrow = grid[1] - grid[0]
    chances = np.exp(-(grid**2) / (2 * (1 - narrow**2)))
    chances /= chances.sum()
    weights, means, covariances = [], [], []
    for weight, center, factor in zip(WEIGHTS, centers, factors, strict=True):
        for chance, start in zip(chances, grid, strict=True):
            mean = center + start * factor[:, 0]
            columns = factor.copy()
            columns[:, 0] *= narrow
            columns[3] += 2 * bend * mean[0] * columns[0]  # the tangent of c x_1^2
            square = mean[0] ** 2 + columns[0, 0] ** 2
            mean[3] += bend * (square - 0.7)
            weights.append(weight * chance)
            means.append(mean)
            covariances.append(columns @ columns.T)
    return GaussianMixture(np.array(weights), np.array(means), np.array(covariances))


@dataclass(frozen=True, eq=False)
class BentSurface:
    """The surface h = 0, by four numbers in (0, 1): x_1 and x_2, and a direction of (v_4, v_5, v_6).

    Attributes:
        mixture: the distribution in space.
        distribution: which distribution on the surface.
    """

    mixture: GaussianMixture
    distribution: Distribution

    @property
    def matrices(self) -> np.ndarray:
        """The Hessians (2, 6, 6) of h."""
        product = np.zeros((6, 6))
        product[0, 1] = product[1, 0] = 1.0
        return np.stack([np.diag(D), product])

    @property
    def vectors(self) -> np.ndarray:
        """The linear terms (2, 6) of h."""
        return np.stack([np.zeros(6), np.eye(6)[2]])

    @property
    def constants(self) -> np.ndarray:
        """The constants (2,) of h."""
        return np.array([-SQUARED_SIZE / 2, -PRODUCT])

    def points(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (M, 6) for places (M, 4), and r dx_1 dx_2 dW over the volume of the places (M,)."""
        x_1 = self.largest * np.sin(angle_1 := np.pi * (places[:, 0] - 0.5))
        center, width, curvature = _range_of_second(x_1)
        x_2 = center + width * np.sin(angle_2 := np.pi * (places[:, 1] - 0.5))
        radius = np.sqrt(curvature) * width * np.cos(angle_2)
        height, angle = 2 * places[:, 2] - 1, 2 * np.pi * places[:, 3]
        flat = np.sqrt(1 - height**2)
        direction = np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)
        rest = radius[:, None] * direction / np.sqrt(D[3:])
        x = np.column_stack([x_1, x_2, PRODUCT - x_1 * x_2, rest])
        return x, radius * np.cos(angle_1) * width * np.cos(angle_2)

    def place(self, x_1: np.ndarray, x_2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first two numbers of the places of points with these coordinates; 0 or 1 beyond the surface."""
        center, width, _ = _range_of_second(x_1)
        sines = (x_1 / self.largest, (x_2 - center) / width)
        first, second = (np.arcsin(sine.clip(-1, 1)) / np.pi + 0.5 for sine in sines)
        return first, second

    @cached_property
    def largest(self) -> float:
        """X, the largest x_1 on the surface: where the range of x_2 vanishes."""
        from scipy.optimize import brentq

        def squared_width(x_1: float) -> float:
            quadratic, linear, constant = _second(np.array(x_1))
            return float(linear**2 - 4 * quadratic * constant)

        return float(brentq(squared_width, 0.0, 2 * np.sqrt(SQUARED_SIZE / D[0]), xtol=1e-15))

    def density(self, places: np.ndarray) -> np.ndarray:
        """The density (M,) of the exact distribution at places (M, 4), up to a factor."""
        x, measure = self.points(places)
        density: np.ndarray = np.exp(self.mixture.log_density(x)) * measure
        if self.distribution == "restriction":
            jacobian = x @ self.matrices + self.vectors[:, None]  # (2, M, 6)
            gram = np.einsum("ami,bmi->mab", jacobian, jacobian)
            density *= np.sqrt(np.linalg.det(gram))
        return density

    @cached_property
    def histogram(self) -> Histogram:
        """A histogram above the density."""
        return Histogram.above(self.density, SIDES, margin=MARGIN)

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean (6,), the covariance (6, 6), and the probabilities (4,) of the signs of x_1 and x_2."""
        return self.quadrature(NODES)

    def quadrature(self, nodes: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The moments, with these numbers of nodes."""
        (first, w_1), (second, w_2), (height, w_3) = (_gauss(count) for count in nodes[:3])
        angle = (np.arange(nodes[3]) + 0.5) / nodes[3]  # a periodic function
        mean, second_moment, fractions = np.zeros(6), np.zeros((6, 6)), np.zeros(4)
        for branch in range(4):
            # Halves of the axis of x_1, whose ends are the places 0, 1/2 and 1.
            u = (first + branch // 2) / 2
            x_1 = self.largest * np.sin(np.pi * (u - 0.5))
            middle = self.place(x_1, np.zeros(len(x_1)))[1][:, None]
            v = middle * second if branch % 2 == 0 else middle + (1 - middle) * second
            length = middle if branch % 2 == 0 else 1 - middle
            shape = (len(u), len(second), len(height), len(angle))
            grids = (u[:, None, None, None], v[:, :, None, None], height[:, None], angle)
            places = np.stack([np.broadcast_to(g, shape).ravel() for g in grids], axis=1)
            weights = (w_1[:, None] * length * w_2)[:, :, None, None] * w_3[:, None]
            mass = np.broadcast_to(weights, shape).ravel() * in_chunks(self.density, places)
            x = self.points(places)[0]
            fractions[branch] = mass.sum()
            mean += mass @ x
            second_moment += (mass * x.T) @ x
        total = fractions.sum()
        mean /= total
        return mean, second_moment / total - np.outer(mean, mean), fractions / total


def _gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) and weights of Gaussian quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def _second(x_1: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coefficients of -r^2 = q x_2^2 + l x_2 + c, given x_1."""
    quadratic = D[1] + D[2] * x_1**2
    return quadratic, -2 * PRODUCT * D[2] * x_1, D[0] * x_1**2 + D[2] * PRODUCT**2 - SQUARED_SIZE


def _range_of_second(x_1: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Center and half width of the range of x_2 given x_1, and q."""
    quadratic, linear, constant = _second(x_1)
    squared = (linear / (2 * quadratic)) ** 2 - constant / quadratic
    return -linear / (2 * quadratic), np.sqrt(squared.clip(min=0)), quadratic

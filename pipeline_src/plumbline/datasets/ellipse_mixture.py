r"""A ring of Gaussians in the plane, on an ellipse: exact by quadrature along a curve.

The feasible set is h(x) = x_1^2 / a^2 + x_2^2 / b^2 - 1 = 0, with the points (a cos t, b sin t). With the
density p of the mixture, the exact distribution has with respect to dt the density

    restriction:  p(x(t)) |x'(t)|,        conditioning:  p(x(t)) |x'(t)| / |grad h(x(t))|

(`plumbline.datasets._exact` explains the two). They differ where the gradient of h varies along the
ellipse, by a factor of a / b between its ends. Distribution function, moments and probabilities of the
components follow from sums over a fine grid of t. The sums converge exponentially, since all functions are
periodic and smooth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from plumbline.datasets._exact import Distribution, ExactConditionalSpec, Numbers
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets._mixtures import GaussianMixture

POINTS = 20_000
"""Number of points on the ellipse."""


class EllipseMixtureSpec(ExactConditionalSpec):
    """A ring of isotropic Gaussians in the plane given an ellipse, whose components are its branches."""

    kind: Literal["ellipse_mixture"] = "ellipse_mixture"
    distribution: Distribution = "conditioning"
    """Which distribution on the ellipse: `conditioning` on x_1^2 / a^2 + x_2^2 / b^2 - 1 = 0, or
    `restriction` of the density."""
    semi_axes: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.7, 1.0)
    """a and b."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.3, 0.1, 0.2, 0.1, 0.2, 0.1), min_length=1
    )
    """Weights of the components up to a common factor, one per component, around the ring."""
    ring_radius: float = key(gt=0, default=1.3)
    """Distance of the means from the origin."""
    first_angle: float = key("radians", default=0.2)
    """Angle of the first mean; the others are spaced evenly."""
    std: float = key(gt=0, default=0.3)
    """Standard deviation of each component."""

    def known(self) -> xr.Dataset:
        """Adds `quadratic_matrices`, `quadratic_vectors` and `quadratic_constants` of the ellipse."""
        from plumbline.datasets._mixtures import with_coordinates

        mixture = self.mixture()
        points, mass = self.on_the_ellipse()
        logs = mixture.log_densities(points)
        belongs = np.exp(logs - logs.max(1, keepdims=True))
        belongs /= belongs.sum(1, keepdims=True)
        mean = mass @ points
        apart = points - mean
        a, b = self.semi_axes
        row = ("equation", "coordinate")
        return with_coordinates(
            {
                **mixture.variables(),
                "quadratic_matrices": ((*row, "other"), np.diag([2 / a**2, 2 / b**2])[None]),
                "quadratic_vectors": (row, np.zeros((1, 2))),
                "quadratic_constants": (("equation",), np.array([-1.0])),
                "conditional_mean": (("coordinate",), mean),
                "conditional_covariance": (("coordinate", "other"), (mass * apart.T) @ apart),
                "branch_fractions": (("branch",), mass @ belongs),
            },
            f"ring of Gaussians on an ellipse, by {self.distribution}",
        )

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        return self.mixture().draw(numbers.uniforms(1)[:, 0], numbers.normals(2, 1))[0]

    def constrained(self, numbers: Numbers) -> np.ndarray:
        angle = np.linspace(0.0, 2 * np.pi, POINTS + 1)
        density = np.append(mass := self.on_the_ellipse()[1], mass[0])
        distribution = np.concatenate([[0.0], ((density[1:] + density[:-1]) / 2).cumsum()])
        at = np.interp(numbers.uniforms(1)[:, 0], distribution / distribution[-1], angle)
        return self._points(at)

    def on_the_ellipse(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (P, 2) at even t, and the probability of each (P,)."""
        t = np.linspace(0.0, 2 * np.pi, POINTS, endpoint=False)
        points = self._points(t)
        a, b = self.semi_axes
        density = self.mixture().log_density(points)
        mass = np.exp(density - density.max()) * np.hypot(a * np.sin(t), b * np.cos(t))
        if self.distribution == "conditioning":
            mass = mass / np.hypot(2 * points[:, 0] / a**2, 2 * points[:, 1] / b**2)
        return points, mass / mass.sum()

    def mixture(self) -> GaussianMixture:
        """The mixture without the ellipse."""
        from plumbline.datasets._mixtures import GaussianMixture

        weights = np.array(self.weights) / sum(self.weights)
        angle = self.first_angle + 2 * np.pi * np.arange(len(weights)) / len(weights)
        means = self.ring_radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return GaussianMixture(weights, means, np.tile(self.std**2 * np.eye(2), (len(weights), 1, 1)))

    def _points(self, t: np.ndarray) -> np.ndarray:
        return np.stack([self.semi_axes[0] * np.cos(t), self.semi_axes[1] * np.sin(t)], axis=1)

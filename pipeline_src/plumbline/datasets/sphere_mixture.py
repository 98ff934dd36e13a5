r"""A mixture of isotropic Gaussians on a sphere: a mixture of von Mises-Fisher distributions.

On |x| = r, the density of N(m, s^2 I) is a constant times exp(kappa mu . u), for the direction u = x / r,
mu = m / |m| and kappa = r |m| / s^2. This is the von Mises-Fisher distribution (Mardia and Jupp 2000,
*Directional Statistics*, section 9.3), whose integral over the unit sphere in n dimensions is

    Z(kappa) = (2 pi)^(n/2) I_{n/2-1}(kappa) / kappa^(n/2-1).

A mixture with the weights w_k becomes one with weights proportional to
w_k s_k^{-n} exp(-(r^2 + |m_k|^2) / (2 s_k^2)) Z(kappa_k). With A = I_{n/2}(kappa) / I_{n/2-1}(kappa), the
moments of a component are E u = A mu and E u u^T = (A / kappa) I + (1 - n A / kappa) mu mu^T.

The height w = mu . u of a sample has the density (1 - w^2)^((n-3)/2) exp(kappa w), whose quantiles are
tabulated. The rest of the direction is uniform. The gradient of |x| has the same length everywhere on the
sphere, so that conditioning and restriction are the same distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from plumbline.datasets._exact import ExactConditionalSpec, Numbers
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

ANGLES = 20_001
"""Number of angles at which the distribution function of the height is tabulated."""


class SphereMixtureSpec(ExactConditionalSpec):
    """A mixture of isotropic Gaussians in n dimensions given the norm, whose components are its branches."""

    kind: Literal["sphere_mixture"] = "sphere_mixture"
    radius: float = key(gt=0, default=1.5)
    """r, the norm of the constrained samples."""
    means: tuple[tuple[float, ...], ...] = Field(
        default=((2.0, 0, 0, 0, 0, 0), (-0.8, 1.6, 0, 0, 0, 0), (0, -0.9, -0.9, 0, 0, 0)), min_length=1
    )
    """The m_k: one point per component, which says the number of dimensions."""
    stds: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 0.6, 0.4)
    """The s_k: one number per component."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 0.3, 0.2)
    """The w_k up to a common factor: one number per component."""

    @model_validator(mode="after")
    def _of_one_length(self) -> SphereMixtureSpec:
        for name in ("stds", "weights"):
            if len(getattr(self, name)) != len(self.means):
                raise ValueError(
                    f"`{name}` has {len(getattr(self, name))} entries, and `means` {len(self.means)}"
                )
        if len({len(mean) for mean in self.means}) != 1 or len(self.means[0]) < 2:
            raise ValueError("`means` must be points of the same dimension, with two or more coordinates")
        return self

    def known(self) -> xr.Dataset:
        """Adds `radius`."""
        from plumbline.datasets._mixtures import with_coordinates

        weights, means, stds = self.components()
        mean, covariance = self.moments()
        return with_coordinates(
            {
                "radius": ((), np.array(self.radius)),
                "component_weights": (("component",), weights),
                "component_means": (("component", "coordinate"), means),
                "component_variances": (("component",), stds**2),
                "conditional_mean": (("coordinate",), mean),
                "conditional_covariance": (("coordinate", "other"), covariance),
                "branch_fractions": (("branch",), self.weights_on_the_sphere()),
            },
            "mixture of Gaussians on a sphere",
        )

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        weights, means, stds = self.components()
        label = np.searchsorted(weights.cumsum()[:-1], numbers.uniforms(2)[:, 0])
        return means[label] + stds[label, None] * numbers.normals(means.shape[1], 1)

    def constrained(self, numbers: Numbers) -> np.ndarray:
        _, means, _ = self.components()
        uniform = numbers.uniforms(2)
        label = np.searchsorted(self.weights_on_the_sphere().cumsum()[:-1], uniform[:, 0])
        poles, concentrations = self.directions()
        height = np.empty(len(label))
        for k, concentration in enumerate(concentrations):
            own = label == k
            height[own] = heights(uniform[own, 1], concentration, means.shape[1])
        pole = poles[label]
        across = numbers.normals(means.shape[1], 1)
        across -= (across * pole).sum(1, keepdims=True) * pole
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        along = height[:, None] * pole + np.sqrt(np.clip(1 - height**2, 0, None))[:, None] * across
        return self.radius * along / np.linalg.norm(along, axis=1, keepdims=True)

    def components(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights (K,), which sum to one, means (K, n) and standard deviations (K,)."""
        return np.array(self.weights) / sum(self.weights), np.array(self.means), np.array(self.stds)

    def directions(self) -> tuple[np.ndarray, np.ndarray]:
        """mu (K, n) and kappa (K,); any direction for a component at the centre."""
        _, means, stds = self.components()
        norms = np.linalg.norm(means, axis=1)
        first = np.eye(means.shape[1])[:1]
        poles = np.where(norms[:, None] > 0, means / np.where(norms > 0, norms, 1)[:, None], first)
        return poles, self.radius * norms / stds**2

    def weights_on_the_sphere(self) -> np.ndarray:
        """The weights (K,) of the von Mises-Fisher distributions."""
        weights, means, stds = self.components()
        size = means.shape[1]
        _, concentrations = self.directions()
        squares = self.radius**2 + (means**2).sum(1)
        logs = np.log(weights) - size * np.log(stds) - squares / (2 * stds**2)
        logs = logs + log_integral(concentrations, size)
        found: np.ndarray = np.exp(logs - logs.max())
        return found / found.sum()

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The exact mean (n,) and covariance (n, n) on the sphere."""
        from scipy.special import ive

        weights = self.weights_on_the_sphere()
        poles, concentrations = self.directions()
        size = poles.shape[1]
        # A / kappa tends to 1 / n as kappa vanishes.
        safe = np.maximum(concentrations, 1e-6)
        across = ive(size / 2, safe) / ive(size / 2 - 1, safe) / safe
        mean = self.radius * (weights * across * concentrations) @ poles
        second = (weights @ across) * np.eye(size)
        second += np.einsum("k,ki,kj->ij", weights * (1 - size * across), poles, poles)
        return mean, self.radius**2 * second - np.outer(mean, mean)


def log_integral(concentration: np.ndarray, size: int) -> np.ndarray:
    """log Z(kappa), the integral of exp(kappa mu . u) over the unit sphere in `size` dimensions."""
    from scipy.special import gammaln, ive

    order = size / 2 - 1
    safe = np.maximum(concentration, 1e-6)
    logs: np.ndarray = size / 2 * np.log(2 * np.pi) + np.log(ive(order, safe)) + safe - order * np.log(safe)
    area = np.log(2) + size / 2 * np.log(np.pi) - gammaln(size / 2)
    return np.where(concentration > 1e-6, logs, area)


def heights(uniform: np.ndarray, concentration: float, size: int) -> np.ndarray:
    """Quantiles of the height w in `size` dimensions, from a table over the angle arccos w."""
    angle = np.linspace(0.0, np.pi, ANGLES)
    density = np.sin(angle) ** (size - 2) * np.exp(concentration * (np.cos(angle) - 1))
    steps = (density[1:] + density[:-1]) / 2
    distribution = np.concatenate([[0.0], steps.cumsum()])
    found: np.ndarray = np.cos(np.interp(uniform, distribution / distribution[-1], angle))
    return found

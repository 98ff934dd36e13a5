r"""Families of fields with two parameters, given what leaves a known distribution of the parameters.

A sample is u(p, q), with (p, q) uniform in a rectangle. A constraint on u leaves points, a line or a curve
of the rectangle, with a known distribution, so that the exact distribution is that of u there.

The unconstrained distribution is nearly a mixture of Gaussians: the rectangle is divided into cells of the
widths a and b. Each is replaced by a Gaussian with the mean u at its centre and the covariance of the
tangents there, for standard deviations of (p, q) of half a cell. It has the error of the curvature of u
within a cell, and blurs the edges of the rectangle by half a cell. The error of the denoiser is largest at
noise levels near the size of a cell; tests state it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from plumbline.datasets._exact import ExactConditionalSpec, Numbers
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

QUANTILES = 4096
"""Number of samples, at even quantiles, from which the exact moments are computed."""
BLUR = 0.5
"""Standard deviation of the Gaussian of a cell, in widths of the cell."""

Bounds = tuple[tuple[float, float], tuple[float, float]]


class FamilySpec(ExactConditionalSpec):
    """Base of the families of fields with two parameters."""

    cells: int = key(ge=2, default=32)
    """Number of cells along each parameter in the mixture that stands for the unconstrained distribution."""

    def bounds(self) -> Bounds:
        """The ranges of both parameters."""
        raise NotImplementedError

    def fields(self, p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """u(p, q) (N, *S) for parameters (N,)."""
        raise NotImplementedError

    def given_parameters(self, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parameters (N,) of the exact conditional distribution, from uniform random numbers (N,).

        They are its quantiles along the line or curve that the constraint leaves.
        """
        raise NotImplementedError

    def coordinates(self) -> xr.Dataset:
        """The coordinates of a sample, and the variables of the constraint."""
        raise NotImplementedError

    def known(self) -> xr.Dataset:
        dims, attrs = self.layout()
        exact = self.fields(*self.given_parameters((np.arange(QUANTILES) + 0.5) / QUANTILES))
        mean = exact.mean(0)
        apart = (exact - mean).reshape(len(exact), -1)
        means, factors = self.mixture()
        count = len(means)
        return self.coordinates().assign(
            component_weights=(("component",), np.full(count, 1 / count)),
            component_means=(("component", *dims), means.astype(np.float32)),
            component_factors=(("component", "factor", *dims), factors.astype(np.float32)),
            conditional_mean=(dims, mean, attrs),
            conditional_covariance=(("entry", "other"), apart.T @ apart / len(exact)),
        )

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        uniform = numbers.uniforms(2)
        p, q = (low + (high - low) * u for (low, high), u in zip(self.bounds(), uniform.T, strict=True))
        return self.fields(p, q)

    def constrained(self, numbers: Numbers) -> np.ndarray:
        return self.fields(*self.given_parameters(numbers.uniforms(1)[:, 0]))

    def mixture(self) -> tuple[np.ndarray, np.ndarray]:
        """Means (K, *S) and factors (K, 2, *S) of the mixture of cells."""
        widths = [(high - low) / self.cells for low, high in self.bounds()]
        centers = [
            low + width * (np.arange(self.cells) + 0.5)
            for (low, _), width in zip(self.bounds(), widths, strict=True)
        ]
        p, q = (grid.ravel() for grid in np.meshgrid(*centers, indexing="ij"))
        small = 1e-3
        tangents = [
            (self.fields(p + small * a, q + small * b) - self.fields(p - small * a, q - small * b))
            / (2 * small)
            for a, b in ((widths[0], 0.0), (0.0, widths[1]))
        ]
        return self.fields(p, q), BLUR * np.stack(tangents, axis=1)


def given_values(
    reference: np.ndarray, chosen: np.ndarray, dims: tuple[str, ...], attrs: dict[str, str]
) -> dict[str, tuple]:
    """The variables `given`, the reference field, and `matrix` and `target` of the equality at chosen places.

    Args:
        reference: the field (*S).
        chosen: whether each of its values is given (*S).
        dims: the dimensions of a sample.
        attrs: the attributes of `state`.
    """
    rows = np.eye(reference.size)[chosen.ravel()].reshape(-1, *reference.shape)
    return {
        "given": (dims, reference, attrs),
        "matrix": (("equality", *dims), rows),
        "target": (("equality",), reference[chosen], {"units": attrs["units"]}),
    }

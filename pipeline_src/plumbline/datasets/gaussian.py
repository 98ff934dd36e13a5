r"""A correlated Gaussian, whose conditional distribution given A x = k is known exactly.

Training samples are unconstrained samples of N(m, S). Validation and test samples follow the same Gaussian
conditioned on A x = k. They are drawn by Matheron's rule: an unconstrained sample z becomes
z + S A^T (A S A^T)^{-1} (k - A z). A constrained sampler with a model of the unconstrained distribution
should reproduce them. The conditional mean and covariance are stored with the samples, so that distances to
the true distribution can be computed exactly, and so are the moments of the unconstrained Gaussian, for the
model `exact_mixture`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr


class GaussianSpec(DatasetSpec):
    """A Gaussian with exponentially correlated coordinates of unequal scale, and m random equalities."""

    kind: Literal["gaussian"] = "gaussian"
    dimension: int = key(ge=2, default=8)
    """Dimension n of a sample."""
    equalities: int = key(ge=1, default=2)
    """Number of equalities m, the rows of A."""
    correlation: float = key(ge=0, le=0.9999, default=0.6)
    """Correlation of neighbouring coordinates."""
    largest_scale: float = key(ge=1e-6, le=1e6, default=3.0)
    """Standard deviation of the last coordinate; the first has one, the others are spaced geometrically."""
    shift: float = key("standard deviations", ge=0, le=1e6, default=1.0)
    """Distance of k from A m, in standard deviations of A x."""

    @model_validator(mode="after")
    def _some_freedom(self) -> GaussianSpec:
        if self.equalities >= self.dimension:
            raise ValueError(f"{self.equalities} equalities leave no freedom in {self.dimension} dimensions")
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr

        from plumbline.datasets._random import normals

        mean, covariance, matrix, target = self.moments()
        gain = _gain(covariance, matrix)
        free, constrained = self._pairs(normals(self.seed, indices, self.dimension))
        state = np.where((splits == "train")[:, None], free, constrained).astype(np.float32)
        square = ("coordinate", "other")
        return xr.Dataset(
            {
                "state": (("sample", "coordinate"), state, {"long_name": "coordinate", "units": "1"}),
                "matrix": (("equality", "coordinate"), matrix),
                "target": (("equality",), target),
                "conditional_mean": (("coordinate",), mean + gain @ (target - matrix @ mean)),
                "conditional_covariance": (square, covariance - gain @ matrix @ covariance),
                "component_weights": (("component",), np.ones(1)),
                "component_means": (("component", "coordinate"), mean[None]),
                "component_covariances": (("component", *square), covariance[None]),
            },
            coords={"coordinate": ("coordinate", np.arange(self.dimension), {"long_name": "coordinate"})},
            attrs={"title": "Gaussian with linear equalities"},
        )

    def draw_exact(self, count: int, seed: int) -> np.ndarray:
        noise = np.random.default_rng([self.seed, seed, 1]).standard_normal((count, self.dimension))
        return self._pairs(noise)[1]

    def _pairs(self, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples (N, n) from standard normal noise (N, n), and the same conditioned on A x = k."""
        mean, covariance, matrix, target = self.moments()
        free = mean + noise @ np.linalg.cholesky(covariance).T
        return free, free + (target - free @ matrix.T) @ _gain(covariance, matrix).T

    def moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The mean (n,) and covariance (n, n) of the unconstrained Gaussian, A (m, n) and k (m,)."""
        n, m = self.dimension, self.equalities
        mean, covariance = correlated(n, self.correlation, self.largest_scale)
        generator = np.random.default_rng([self.seed, n, m])
        matrix = generator.standard_normal((m, n)) / np.sqrt(n)
        spread = np.sqrt(np.einsum("ij,jk,ik->i", matrix, covariance, matrix))
        return mean, covariance, matrix, matrix @ mean + self.shift * spread


def correlated(size: int, correlation: float, largest_scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean (n,) and covariance (n, n) of exponentially correlated coordinates of unequal scale."""
    lag = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    scale = np.geomspace(1.0, largest_scale, size)
    return np.linspace(-1.0, 1.0, size), scale[:, None] * correlation**lag * scale


def _gain(covariance: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """S A^T (A S A^T)^{-1} (n, m)."""
    return covariance @ matrix.T @ np.linalg.inv(matrix @ covariance @ matrix.T)

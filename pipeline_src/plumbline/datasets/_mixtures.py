"""Mixtures of Gaussians in NumPy: draws, moments, density, and the mixture given A x = k."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class GaussianMixture:
    """sum_k w_k N(m_k, S_k).

    Attributes:
        weights: w (K,), which sum to one.
        means: m (K, n).
        covariances: S (K, n, n).
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @cached_property
    def factors(self) -> np.ndarray:
        """Lower triangular L_k (K, n, n) with S_k = L_k L_k^T."""
        return np.linalg.cholesky(self.covariances)

    def draw(self, uniform: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples (N, n), and the component of each (N,).

        Args:
            uniform: uniform random numbers (N,), which choose the components.
            noise: standard normal random numbers (N, n).
        """
        label = np.searchsorted(self.weights.cumsum()[:-1], uniform)
        return self.means[label] + np.einsum("bij,bj->bi", self.factors[label], noise), label

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """The mean (n,) and covariance (n, n)."""
        mean = self.weights @ self.means
        apart = self.means - mean
        within = np.einsum("k,kij->ij", self.weights, self.covariances)
        return mean, within + np.einsum("k,ki,kj->ij", self.weights, apart, apart)

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """log w_k N(x; m_k, S_k) (N, K) at points x (N, n)."""
        count, size = self.means.shape
        inverses = np.linalg.inv(self.factors)  # one product of matrices for all components
        standard = (x @ inverses.reshape(-1, size).T).reshape(len(x), count, size)
        standard -= np.einsum("kij,kj->ki", inverses, self.means)
        logs = np.log(self.weights) + np.log(np.diagonal(inverses, axis1=1, axis2=2)).sum(1)
        found: np.ndarray = logs - 0.5 * (standard**2).sum(2) - 0.5 * size * np.log(2 * np.pi)
        return found

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """The logarithm of the density (N,) at points x (N, n)."""
        from scipy.special import logsumexp

        found: np.ndarray = logsumexp(self.log_densities(x), axis=1)
        return found

    def given(self, matrix: np.ndarray, target: np.ndarray) -> ConditionedMixture:
        """The distribution given A x = k, for A (m, n) with independent rows and k (m,)."""
        of_rows = np.einsum("mi,kij,lj->kml", matrix, self.covariances, matrix)
        gains = np.einsum("kij,mj,kml->kil", self.covariances, matrix, np.linalg.inv(of_rows))
        apart = target - self.means @ matrix.T
        along_rows = np.linalg.solve(np.linalg.cholesky(of_rows), apart[..., None])[..., 0]
        log_weights = (
            np.log(self.weights) - 0.5 * (along_rows**2).sum(1) - 0.5 * np.linalg.slogdet(of_rows)[1]
        )
        weights = np.exp(log_weights - log_weights.max())
        means = self.means + np.einsum("kim,km->ki", gains, apart)
        covariances = self.covariances - np.einsum("kim,mj,kjl->kil", gains, matrix, self.covariances)
        return ConditionedMixture(
            GaussianMixture(weights / weights.sum(), means, covariances), self, matrix, target, gains
        )

    def variables(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """The variables that the model `exact_mixture` reads, for samples with the dimension `coordinate`."""
        return {
            "component_weights": (("component",), self.weights),
            "component_means": (("component", "coordinate"), self.means),
            "component_covariances": (("component", "coordinate", "other"), self.covariances),
        }


@dataclass(frozen=True)
class ConditionedMixture:
    """A mixture of Gaussians given A x = k.

    Attributes:
        mixture: the mixture that it is, whose covariances are singular.
        free: the mixture without the equalities.
        matrix: A (m, n).
        target: k (m,).
        gains: S_j A^T (A S_j A^T)^{-1} (K, n, m).
    """

    mixture: GaussianMixture
    free: GaussianMixture
    matrix: np.ndarray
    target: np.ndarray
    gains: np.ndarray

    def draw(self, uniform: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples (N, n), and the component of each (N,), by Matheron's rule within the component.

        Args:
            uniform: uniform random numbers (N,), which choose the components.
            noise: standard normal random numbers (N, n).
        """
        chosen = GaussianMixture(self.mixture.weights, self.free.means, self.free.covariances)
        x, label = chosen.draw(uniform, noise)
        return x + np.einsum("bim,bm->bi", self.gains[label], self.target - x @ self.matrix.T), label

    def variables(self) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
        """The constraint, the exact moments, and the probabilities of the components given the equalities."""
        mean, covariance = self.mixture.moments()
        return {
            "matrix": (("equality", "coordinate"), self.matrix),
            "target": (("equality",), self.target),
            "conditional_mean": (("coordinate",), mean),
            "conditional_covariance": (("coordinate", "other"), covariance),
            "branch_fractions": (("branch",), self.mixture.weights),
        }


def coordinates(size: int) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    """The coordinate of samples with the dimension `coordinate`."""
    return {"coordinate": ("coordinate", np.arange(size), {"long_name": "coordinate"})}


def with_coordinates(variables: dict[str, tuple[tuple[str, ...], np.ndarray]], title: str) -> xr.Dataset:
    """A dataset of variables without samples, for samples with the dimension `coordinate`."""
    import xarray as xr

    found = xr.Dataset(variables, attrs={"title": title})
    return found.assign_coords(coordinates(found.sizes["coordinate"]))

"""A mixture of isotropic Gaussians, with a known density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from plumbline.datasets import DatasetSpec

if TYPE_CHECKING:
    import xarray as xr


class MixtureSpec(DatasetSpec):
    """Samples of sum_k w_k N(m_k, s_k^2 I), with their component as `label`.

    The mixture is stored for the model `exact_mixture`.
    """

    kind: Literal["mixture"] = "mixture"
    means: tuple[tuple[float, ...], ...] = Field(min_length=1)
    """Means m_k, one point per component."""
    stds: tuple[Annotated[float, Field(gt=0)], ...]
    """Standard deviations s_k, one per component."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Weights w_k up to a common factor, one per component; null for equal weights."""

    @model_validator(mode="after")
    def _of_one_length(self) -> MixtureSpec:
        for name, given in (("stds", self.stds), ("weights", self.weights or self.stds)):
            if len(given) != len(self.means):
                raise ValueError(f"`{name}` has {len(given)} entries, and `means` {len(self.means)}")
        if len({len(mean) for mean in self.means}) != 1 or len(self.means[0]) < 2:
            raise ValueError("`means` must be points of the same dimension, with two or more coordinates")
        return self

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr
        from scipy.special import ndtri

        from plumbline.datasets._random import uniforms

        means, stds, weights = self.components()
        size = means.shape[1]
        numbers = uniforms(self.seed, indices, 1 + size)
        label = np.searchsorted(weights.cumsum()[:-1], numbers[:, 0])
        state = means[label] + stds[label, None] * ndtri(numbers[:, 1:])
        return xr.Dataset(
            {
                "state": (
                    ("sample", "coordinate"),
                    state.astype(np.float32),
                    {"long_name": "coordinate", "units": "1"},
                ),
                "label": ("sample", label, {"long_name": "component"}),
                "component_weights": (("component",), weights),
                "component_means": (("component", "coordinate"), means),
                "component_variances": (("component",), stds**2),
            },
            coords={"coordinate": ("coordinate", np.arange(size), {"long_name": "coordinate"})},
            attrs={"title": "mixture of Gaussians"},
        )

    def draw_exact(self, count: int, seed: int) -> np.ndarray:
        means, stds, weights = self.components()
        generator = np.random.default_rng([self.seed, seed, 1])
        label = generator.choice(len(weights), count, p=weights)
        return means[label] + stds[label, None] * generator.standard_normal((count, means.shape[1]))

    def components(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means (K, n), standard deviations (K,) and weights (K,), which sum to one."""
        weights = np.array(self.weights or [1.0] * len(self.means))
        return np.array(self.means), np.array(self.stds), weights / weights.sum()

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """The logarithm of the density (N,) at points x (N, n)."""
        from scipy.special import logsumexp

        means, stds, weights = self.components()
        squares = ((x[:, None] - means) ** 2).sum(-1)
        size = means.shape[1]
        parts = np.log(weights) - squares / (2 * stds**2) - size * np.log(stds * np.sqrt(2 * np.pi))
        return logsumexp(parts, axis=1)

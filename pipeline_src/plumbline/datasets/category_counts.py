r"""Counts of categories with a known total, such as votes, cells of each type, or visits by purpose.

A sample has covariates c ~ N(0, I), a total k, uniform on a range, and counts

    z ~ Multinomial(k, p(c)),    p(c) = softmax(b + B c + a sin(C c)),

with fixed b, B and C, so that the probabilities are known, and are not those of a linear model if a > 0.

With an `overdispersion` d, p is replaced by a draw from a Dirichlet distribution of the concentration p / d:
counts then vary more than those of independent trials (the Dirichlet-multinomial distribution).

The counts are the state, the covariates are the condition, and `total` is k. `probabilities` are p(c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from plumbline.datasets import DatasetSpec
from plumbline.spec import LARGEST_SEED, key

if TYPE_CHECKING:
    import xarray as xr


class CategoryCountsSpec(DatasetSpec):
    """Counts of categories with a known total, given covariates."""

    kind: Literal["category_counts"] = "category_counts"
    categories: int = key(ge=2, default=8)
    """Number of categories."""
    covariates: int = key(ge=1, default=3)
    """Number of covariates."""
    totals: tuple[int, int] = (20, 200)
    """The smallest and the largest total."""
    curvature: float = key(ge=0, default=1.0)
    """a, the size of the part of the log-probabilities that is not linear in the covariates."""
    overdispersion: float = key(ge=0, default=0.0)
    """d: zero for multinomial counts. The variance of a count is (1 + (k - 1) d / (1 + d)) times as large."""
    problem_seed: int = key(ge=0, le=LARGEST_SEED, default=11)
    """Random seed of b, B and C."""

    @model_validator(mode="after")
    def _a_range_of_totals(self) -> CategoryCountsSpec:
        first, last = self.totals
        if not 1 <= first <= last:
            raise ValueError(
                f"`totals` must be the smallest and the largest total, from 1, found {first}, {last}"
            )
        return self

    def has_condition(self) -> bool:
        return True

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        import xarray as xr
        from scipy.special import ndtri

        from plumbline.datasets._random import uniforms

        n = self.categories
        numbers = uniforms(self.seed, indices, self.covariates + 1 + 2 * n)
        covariates = ndtri(numbers[:, : self.covariates])
        first, last = self.totals
        total = np.floor(first + (last + 1 - first) * numbers[:, self.covariates]).astype(np.int64)
        of_dirichlet, of_counts = np.split(numbers[:, self.covariates + 1 :], 2, axis=1)
        probabilities = self.probabilities(covariates)
        drawn = self._overdispersed(probabilities, of_dirichlet) if self.overdispersion else probabilities
        counts = _multinomial(total, drawn, of_counts)
        return xr.Dataset(
            {
                "state": (("sample", "category"), counts.astype(np.float32), {"long_name": "count"}),
                "condition": (
                    ("sample", "covariate"), covariates.astype(np.float32), {"long_name": "covariate"}
                ),
                "total": ("sample", total.astype(np.float64), {"long_name": "total"}),
                "probabilities": (("sample", "category"), probabilities, {"long_name": "probability"}),
            },
            attrs={"title": "counts of categories"},
        )  # fmt: skip

    def probabilities(self, covariates: np.ndarray) -> np.ndarray:
        """p(c) (samples, categories) of covariates (samples, covariates)."""
        from scipy.special import softmax

        generator = np.random.default_rng(self.problem_seed)
        shape = (self.covariates, self.categories)
        offset, linear = generator.normal(0, 0.7, self.categories), generator.normal(0, 0.5, shape)
        waves = generator.normal(0, 1.0, shape)
        return softmax(offset + covariates @ linear + self.curvature * np.sin(covariates @ waves), axis=1)

    def _overdispersed(self, probabilities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Draws from Dirichlet(p / d), by the quantiles of Gamma variables."""
        from scipy.special import gammaincinv

        gamma = gammaincinv(probabilities / self.overdispersion, numbers)
        gamma = np.maximum(gamma, np.finfo(float).tiny)
        return gamma / gamma.sum(1, keepdims=True)


def _multinomial(total: np.ndarray, probabilities: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Multinomial counts (samples, n) by the quantiles of one binomial variable for each category.

    Given the categories before it, a category has Binomial(k - z_1 - ... - z_{i-1}, p_i / (p_i + ... + p_n)).
    """
    from scipy.stats import binom

    left, counts = total.copy(), np.zeros(probabilities.shape, np.int64)
    rest = np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1]
    for i in range(probabilities.shape[1] - 1):
        chance = np.clip(probabilities[:, i] / rest[:, i], 0.0, 1.0)
        counts[:, i] = binom.ppf(numbers[:, i], left, chance)
        left = left - counts[:, i]
    counts[:, -1] = left
    return counts

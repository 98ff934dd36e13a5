r"""A mixture of correlated Gaussians given A x = k, which is a mixture again.

With components N(m_j, S_j) of the weights w_j, and G_j = S_j A^T (A S_j A^T)^{-1}, the distribution given
A x = k has the components N(m_j + G_j (k - A m_j), S_j - G_j A S_j) with the weights

    w_j N(k; A m_j, A S_j A^T),   normalised

(Bishop 2006, *Pattern Recognition and Machine Learning*, sections 2.3.1 and 2.3.9). Conditioning changes the
weights: the default equality raises one of them from .5 to .91 and lowers another from .3 to .006. A sampler
can satisfy the equality, and draw each component well, and still draw the components in wrong proportions.

Samples of a component are drawn by Matheron's rule, x = z + G_j (k - A z) for z from N(m_j, S_j), so that
they satisfy the equalities to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from plumbline.datasets._exact import ExactConditionalSpec, Numbers
from plumbline.spec import LARGEST_SEED, key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets._mixtures import ConditionedMixture, GaussianMixture


class GaussianMixtureSpec(ExactConditionalSpec):
    """A mixture of correlated Gaussians given linear equalities, whose components are its branches.

    Its mean variance is one.
    """

    kind: Literal["gaussian_mixture"] = "gaussian_mixture"
    weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(0.5, 0.3, 0.2), min_length=1)
    """Weights of the components, up to a common factor."""
    matrix: tuple[tuple[float, ...], ...] = Field(default=((1.0, 1.0, 0.0, 0.0),), min_length=1)
    """A: one row per equality, with one coefficient per dimension."""
    target: tuple[float, ...] = (0.6,)
    """k: one number per equality."""
    problem_seed: int = key(ge=0, le=LARGEST_SEED, default=7)
    """Random seed of the means and covariances of the components."""

    @model_validator(mode="after")
    def _independent_rows(self) -> GaussianMixtureSpec:
        sizes = {len(row) for row in self.matrix}
        if len(sizes) != 1 or len(self.matrix[0]) < 2:
            raise ValueError("the rows of `matrix` must have the same length, of at least 2")
        if len(self.target) != len(self.matrix):
            raise ValueError(f"`target` has {len(self.target)} numbers, and `matrix` {len(self.matrix)} rows")
        if len(self.matrix) >= len(self.matrix[0]):
            raise ValueError(
                f"{len(self.matrix)} equalities leave no freedom in {len(self.matrix[0])} dimensions"
            )
        if np.linalg.matrix_rank(np.array(self.matrix)) < len(self.matrix):
            raise ValueError("the rows of `matrix` depend on each other: leave out the redundant ones")
        return self

    def known(self) -> xr.Dataset:
        from plumbline.datasets._mixtures import with_coordinates

        conditioned = self.conditioned()
        variables = conditioned.free.variables() | conditioned.variables()
        return with_coordinates(variables, "mixture of Gaussians with linear equalities")

    def unconstrained(self, numbers: Numbers) -> np.ndarray:
        mixture = self.mixture()
        return mixture.draw(numbers.uniforms(1)[:, 0], numbers.normals(mixture.means.shape[1], 1))[0]

    def constrained(self, numbers: Numbers) -> np.ndarray:
        conditioned = self.conditioned()
        noise = numbers.normals(conditioned.matrix.shape[1], 1)
        return conditioned.draw(numbers.uniforms(1)[:, 0], noise)[0]

    def conditioned(self) -> ConditionedMixture:
        """The mixture given the equalities."""
        return self.mixture().given(np.array(self.matrix), np.array(self.target))

    def mixture(self) -> GaussianMixture:
        """The mixture without the equalities, with the mean zero and the mean variance one."""
        from plumbline.datasets._mixtures import GaussianMixture

        generator = np.random.default_rng(self.problem_seed)
        count, size = len(self.weights), len(self.matrix[0])
        means = generator.normal(0.0, 1.0, (count, size))
        factors = np.stack(
            [
                np.tril(generator.normal(0, 0.3, (size, size)), -1)
                + np.diag(generator.uniform(0.2, 0.5, size))
                for _ in range(count)
            ]
        )
        weights = np.array(self.weights) / sum(self.weights)
        drawn = GaussianMixture(weights, means, factors @ factors.swapaxes(1, 2))
        mean, covariance = drawn.moments()
        std = np.sqrt(np.trace(covariance) / size)
        return GaussianMixture(weights, (means - mean) / std, drawn.covariances / std**2)

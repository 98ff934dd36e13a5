r"""A Gaussian conditioned on linear equalities, without forming an n-by-n matrix.

For z ~ N(m, V) and A of full row rank, with G = A V A^T,

    E[z | A z = k]   = m + V A^T G^{-1} (k - A m)
    Cov[z | A z = k] = V - V A^T G^{-1} A V

(Li, Sahu, Van den Broeck, Zeng 2025, Proposition 8.1). V is diagonal here and A any linear map that can
factor its own G: a dense A by Cholesky, sums over disjoint groups by a division.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Gram(Protocol):
    """A factored G = A V A^T."""

    def solve(self, residual: Float[Tensor, "B m"]) -> Float[Tensor, "B m"]:
        """G^{-1} r."""
        ...

    def leverage(self) -> Float[Tensor, "#B n"]:
        """The diagonal of A^T G^{-1} A."""
        ...


@runtime_checkable
class LinearMap(Protocol):
    """A linear map A from samples (B, n) to residuals (B, m)."""

    def apply(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B m"]:
        """A x."""
        ...

    def adjoint(self, y: Float[Tensor, "B m"]) -> Float[Tensor, "B n"]:
        """A^T y."""
        ...

    def gram(self, variance: Float[Tensor, "#B n"]) -> Gram:
        """The factored A V A^T for diagonal V."""
        ...


@dataclass(frozen=True)
class ConditionedCovariance:
    """Cov[z | A z = k], kept as V, A and the factor of A V A^T.

    Attributes:
        variance: the diagonal of V, (1, n) or (B, n).
        linear_map: A.
        gram: the factored A V A^T.
    """

    variance: Float[Tensor, "#B n"]
    linear_map: LinearMap
    gram: Gram

    def matmul(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B n"]:
        """The covariance times a batch of vectors, in the cost of applying A."""
        scaled = self.variance * x
        multipliers = self.gram.solve(self.linear_map.apply(scaled))
        return scaled - self.variance * self.linear_map.adjoint(multipliers)

    def diagonal(self) -> Float[Tensor, "#B n"]:
        """The conditional marginal variances (Proposition 4.1), at least zero."""
        return (self.variance - self.variance**2 * self.gram.leverage()).clamp(min=0)

    def dense(self) -> Float[Tensor, "B n n"]:
        """The n-by-n matrix, for small n."""
        n = self.variance.shape[-1]
        identity = torch.eye(n, dtype=self.variance.dtype, device=self.variance.device)
        batch = self.variance.shape[0]
        columns = [self.matmul(column.expand(batch, n)) for column in identity]
        return torch.stack(columns, dim=-1)


def conditioned_gaussian(
    mean: Float[Tensor, "B n"],
    variance: Float[Tensor, "#B n"],
    linear_map: LinearMap,
    target: Float[Tensor, "#B m"],
) -> tuple[Float[Tensor, "B n"], ConditionedCovariance]:
    """Mean and covariance of N(mean, diag(variance)) given A z = target.

    Coordinates of zero variance stay where they are. Differentiable in mean, variance and target.
    """
    gram = linear_map.gram(variance)
    multipliers = gram.solve(target - linear_map.apply(mean))
    conditional_mean = mean + variance * linear_map.adjoint(multipliers)
    return conditional_mean, ConditionedCovariance(variance, linear_map, gram)

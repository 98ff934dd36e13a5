r"""Linear maps A with a cheap A V A^T, for diagonal V.

`Dense` keeps the matrix and factors A V A^T by Cholesky, O(n m^2 + m^3) a variance. `GroupSum` adds up
disjoint groups of coordinates (a total, block sums, a sum a graph): its A V A^T is diagonal, O(n).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class DenseGram:
    """A V A^T by its Cholesky factor, (1 or B, m, m)."""

    matrix: Float[Tensor, "m n"]
    factor: Float[Tensor, "#B m m"]

    def solve(self, residual: Float[Tensor, "B m"]) -> Float[Tensor, "B m"]:
        """G^{-1} r."""
        if self.factor.shape[0] == 1:
            return torch.cholesky_solve(residual.mT, self.factor[0]).mT
        return torch.cholesky_solve(residual[..., None], self.factor).squeeze(-1)

    def leverage(self) -> Float[Tensor, "#B n"]:
        """The diagonal of A^T G^{-1} A."""
        whitened = torch.linalg.solve_triangular(self.factor, self.matrix, upper=False)
        return whitened.square().sum(-2)


@dataclass(frozen=True)
class Dense:
    """A as an m-by-n matrix of full row rank."""

    matrix: Float[Tensor, "m n"]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return self.matrix.shape[0]

    def to(self, like: Tensor) -> Dense:
        """The map in the dtype and on the device of `like`."""
        return Dense(self.matrix.to(like))

    def apply(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B m"]:
        """A x."""
        return x @ self.matrix.mT

    def absolute(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B m"]:
        """|A| |x|, the scale that rounding errors of A x are measured by."""
        return x.abs() @ self.matrix.abs().mT

    def adjoint(self, y: Float[Tensor, "B m"]) -> Float[Tensor, "B n"]:
        """A^T y."""
        return y @ self.matrix

    def gram(self, variance: Float[Tensor, "#B n"]) -> DenseGram:
        """The factored A V A^T.

        Raises:
            torch.linalg.LinAlgError: the variance leaves no freedom along a row of A.
        """
        product = (self.matrix * variance[:, None, :]) @ self.matrix.mT
        return DenseGram(self.matrix, torch.linalg.cholesky(product))


@dataclass(frozen=True)
class DiagonalGram:
    """A V A^T for disjoint groups: the total variance of each group, (1 or B, m)."""

    groups: Int[Tensor, " n"]
    totals: Float[Tensor, "#B m"]

    def solve(self, residual: Float[Tensor, "B m"]) -> Float[Tensor, "B m"]:
        """G^{-1} r; groups without variance take no correction."""
        return torch.where(self.totals > 0, residual / self.totals, 0.0)

    def leverage(self) -> Float[Tensor, "#B n"]:
        """The diagonal of A^T G^{-1} A."""
        return torch.where(self.totals > 0, 1 / self.totals, 0.0)[:, self.groups]


@dataclass(frozen=True)
class GroupSum:
    """Sums over disjoint groups that cover all coordinates.

    Attributes:
        groups: the group of each coordinate, from zero on, each group with at least one coordinate.
    """

    groups: Int[Tensor, " n"]

    @property
    def rows(self) -> int:
        """The number of groups m."""
        return int(self.groups.max()) + 1

    def to(self, like: Tensor) -> GroupSum:
        """The map on the device of `like`."""
        return GroupSum(self.groups.to(like.device))

    def apply(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B m"]:
        """The sum of each group."""
        return x.new_zeros(x.shape[0], self.rows).index_add(1, self.groups, x)

    def absolute(self, x: Float[Tensor, "B n"]) -> Float[Tensor, "B m"]:
        """The sum of absolute values of each group."""
        return self.apply(x.abs())

    def adjoint(self, y: Float[Tensor, "B m"]) -> Float[Tensor, "B n"]:
        """Each coordinate's group value."""
        return y[:, self.groups]

    def gram(self, variance: Float[Tensor, "#B n"]) -> DiagonalGram:
        """The total variance of each group."""
        return DiagonalGram(self.groups, self.apply(variance))

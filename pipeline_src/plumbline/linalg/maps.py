r"""Linear maps A with a cheap A V A^T, for diagonal V.

`DenseMap` stores the matrix and factors A V A^T by Cholesky, in O(n m^2 + m^3) per variance vector.
`GroupSum` sums disjoint groups of coordinates, with or without weights (a total, block sums, a portfolio, one
sum per graph): its A V A^T is diagonal and takes O(n).
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.linalg.gram import FactoredGram, LinearMap, cholesky


@runtime_checkable
class StructuredMap(LinearMap, Protocol):
    """A linear map A whose rows do not depend on each other, and that keeps no matrix."""

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        ...

    @property
    def columns(self) -> int:
        """The number of coordinates n."""
        ...

    def to(self, like: Tensor) -> StructuredMap:
        """The map in the dtype and on the device of `like`."""
        ...

    def rescaled(self, scale: Float[Tensor, " n"]) -> StructuredMap:
        """A diag(scale)."""
        ...

    def dense(self) -> Float[Tensor, "m n"]:
        """A as a matrix, for small n."""
        ...

    def pivots(self, *, last: bool) -> Int[Tensor, " m"]:
        """The last, or first, coordinates that the equalities can be solved for, one a row."""
        ...


@dataclass(frozen=True)
class DenseGram(FactoredGram):
    """A V A^T, stored as its Cholesky factor (*B, m, m), and A."""

    matrix: Float[Tensor, "m n"]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return self.matrix.shape[0]

    def leverage(self) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} A."""
        whitened = torch.linalg.solve_triangular(self.factor, self.matrix, upper=False)
        return whitened.square().sum(-2)

    def leverage_through(self, other: DenseGram) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} G' G^{-1} A."""
        solved = torch.cholesky_solve(self.matrix.expand(*self.factor.shape[:-2], -1, -1), self.factor)
        return (other.factor.mT @ solved).square().sum(-2)


@dataclass(frozen=True)
class DenseMap:
    """A as an m-by-n matrix of full row rank."""

    matrix: Float[Tensor, "m n"]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return self.matrix.shape[0]

    @property
    def columns(self) -> int:
        """The number of coordinates n."""
        return self.matrix.shape[1]

    def to(self, like: Tensor) -> DenseMap:
        """The map in the dtype and on the device of `like`; itself if nothing changes."""
        matrix = self.matrix.to(like)
        return self if matrix is self.matrix else DenseMap(matrix)

    def apply(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """A x."""
        return x @ self.matrix.mT

    def absolute(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """|A| |x|, the scale of the rounding errors of A x."""
        return x.abs() @ self.matrix.abs().mT

    def adjoint(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B n"]:
        """A^T y."""
        return y @ self.matrix

    def gram(self, variance: Float[Tensor, "*B n"]) -> DenseGram:
        """The factored A V A^T.

        Raises:
            DegenerateGaussianError: A V A^T is not positive definite: a row of A has too little variance.
        """
        product = (self.matrix * variance[..., None, :]) @ self.matrix.mT
        return DenseGram(cholesky(product, "A V A^T (an equality has too little variance)"), self.matrix)

    @cached_property
    def unit_gram(self) -> DenseGram:
        """The factored A A^T."""
        return self.gram(torch.ones_like(self.matrix[0]))

    def rescaled(self, scale: Float[Tensor, " n"]) -> DenseMap:
        """A diag(scale)."""
        return DenseMap(self.matrix * scale)

    def dense(self) -> Float[Tensor, "m n"]:
        """A itself."""
        return self.matrix


@dataclass(frozen=True)
class DiagonalGram:
    """A V A^T for disjoint groups: the weighted variance of each group, (*B, m)."""

    groups: Int[Tensor, " n"]
    weights: Float[Tensor, " n"] | None
    totals: Float[Tensor, "*B m"]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return self.totals.shape[-1]

    def solve(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C m"]:
        """G^{-1} r; zero for groups without variance."""
        return residual * self._inverse()

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det G."""
        return self.totals.log().sum(-1)

    def leverage(self) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} A."""
        return self._to_coordinates(self._inverse())

    def leverage_through(self, other: DiagonalGram) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} G' G^{-1} A."""
        return self._to_coordinates(other.totals * self._inverse() ** 2)

    def _to_coordinates(self, values: Tensor) -> Tensor:
        spread = values[..., self.groups]
        return spread if self.weights is None else self.weights**2 * spread

    def _inverse(self) -> Tensor:
        free = self.totals > 0
        return free / torch.where(free, self.totals, 1.0)


@dataclass(frozen=True)
class GroupSum:
    """Sums over disjoint groups that cover all coordinates.

    Attributes:
        groups: the group of each coordinate, numbered from zero without gaps.
        weights: the coefficient of each coordinate, finite; None for ones.
        validate_args: whether to check groups and weights.

    Raises:
        ValueError: the groups are not integers numbered from zero without gaps, or the weights do not fit.
    """

    groups: Int[Tensor, " n"]
    weights: Float[Tensor, " n"] | None = None
    validate_args: InitVar[bool] = True

    def __post_init__(self, validate_args: bool) -> None:
        if not validate_args:
            return
        groups = self.groups
        if groups.ndim != 1 or not len(groups) or groups.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                "groups must be one integer per coordinate (int64 or int32), found the shape "
                f"{tuple(groups.shape)} of {groups.dtype}."
            )
        if int(groups.min()) < 0:
            raise ValueError(f"groups must be numbered from zero, found {int(groups.min())}.")
        if self.rows > len(groups) or not bool((torch.bincount(groups) > 0).all()):
            raise ValueError(
                f"each group from 0 to {self.rows - 1} must have a coordinate, "
                f"found {len(groups.unique())} groups: number them without gaps."
            )
        if self.weights is not None:
            _check_weights(self.weights, len(groups))

    @cached_property
    def rows(self) -> int:
        """The number of groups m."""
        return int(self.groups.max()) + 1

    @property
    def columns(self) -> int:
        """The number of coordinates n."""
        return len(self.groups)

    def to(self, like: Tensor) -> GroupSum:
        """The map in the dtype and on the device of `like`; itself if nothing changes."""
        groups = self.groups.to(like.device)
        weights = None if self.weights is None else self.weights.to(like)
        if groups is self.groups and weights is self.weights:
            return self
        return group_sum(groups, weights, self.rows)

    def apply(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """The sum of each group."""
        return self.sums(x if self.weights is None else self.weights * x)

    def absolute(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """The sum of absolute values of each group."""
        return self.sums((x if self.weights is None else self.weights * x).abs())

    def adjoint(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B n"]:
        """The value of each coordinate's group, times the coordinate's weight."""
        return y[..., self.groups] if self.weights is None else self.weights * y[..., self.groups]

    def gram(self, variance: Float[Tensor, "*B n"]) -> DiagonalGram:
        """The weighted variance of each group."""
        totals = self.sums(variance if self.weights is None else self.weights**2 * variance)
        return DiagonalGram(self.groups, self.weights, totals)

    @cached_property
    def unit_gram(self) -> DiagonalGram:
        """The factored A A^T: the squared weights of each group."""
        ones = torch.ones(self.groups.shape, dtype=torch.float64, device=self.groups.device)
        return self.gram(ones if self.weights is None else ones.to(self.weights))

    def rescaled(self, scale: Float[Tensor, " n"]) -> GroupSum:
        """A diag(scale)."""
        weights = scale if self.weights is None else self.weights * scale
        return group_sum(self.groups, weights, self.rows)

    def dense(self) -> Float[Tensor, "m n"]:
        """A as a matrix; for small n."""
        matrix = torch.nn.functional.one_hot(self.groups, self.rows).mT.double()
        return matrix if self.weights is None else matrix * self.weights

    def pivots(self, *, last: bool) -> Int[Tensor, " m"]:
        """The last, or first, coordinate of each group whose weight is not zero."""
        position = torch.arange(len(self.groups), device=self.groups.device)
        none = -1 if last else len(self.groups)
        usable = position if self.weights is None else torch.where(self.weights != 0, position, none)
        empty = position.new_full((self.rows,), none)
        return empty.scatter_reduce(0, self.groups, usable, "amax" if last else "amin")

    def sums(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """The sum of each group, without weights."""
        if self.rows == 1:
            return x.sum(-1, keepdim=True)
        return x.new_zeros(*x.shape[:-1], self.rows).index_add(-1, self.groups, x)


def group_sum(groups: Int[Tensor, " n"], weights: Float[Tensor, " n"] | None, rows: int) -> GroupSum:
    """A `GroupSum` of a known number of groups, without checks, which would wait for a GPU."""
    made = GroupSum(groups, weights, validate_args=False)
    made.__dict__["rows"] = rows
    return made


def _check_weights(weights: Tensor, coordinates: int) -> None:
    if weights.shape != (coordinates,) or not weights.dtype.is_floating_point:
        raise ValueError(
            f"weights must be one real value for each of {coordinates} coordinates, found the shape "
            f"{tuple(weights.shape)} of {weights.dtype}."
        )
    if not bool(torch.isfinite(weights).all()):
        raise ValueError("weights must be finite, found NaN or infinite values.")

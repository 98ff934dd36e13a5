r"""Covariances S of a Gaussian, by structure. The structured classes never form an n-by-n matrix.

Each class implements products with S and its inverse, sampling, the determinant, and two quantities for a
linear map A:

- the factored Gram matrix G = A S A^T;
- the marginal variances of the conditioned Gaussian, the diagonal of S - S A^T G^{-1} A S.

For S = D + F F^T, first condition on the r factors u of z = D^{1/2} e + F u. With P = I - D A^T G_D^{-1} A,
W = A F and C = I + W^T G_D^{-1} W,

    S - S A^T G^{-1} A S = (D - D A^T G_D^{-1} A D) + (P F) C^{-1} (P F)^T,

the conditioned diagonal covariance plus a term of rank r.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.linalg.checks import require_finite, require_symmetric, require_variances
from plumbline.linalg.gram import (
    FactoredGram,
    Gram,
    LeverageGram,
    LinearMap,
    LowRankGram,
    ScaledGram,
    cholesky,
    common_batch,
)

if TYPE_CHECKING:
    from plumbline.linalg.conditioning import ConditionedCovariance


@runtime_checkable
class Covariance(Protocol):
    """A covariance S of n coordinates, for a batch *B."""

    @property
    def batch_shape(self) -> torch.Size:
        """*B."""
        ...

    @property
    def dimension(self) -> int:
        """The number of coordinates n."""
        ...

    def double(self) -> Covariance:
        """The covariance in double precision."""
        ...

    def matmul(self, x: Float[Tensor, "*C n"]) -> Float[Tensor, "*C n"]:
        """S x."""
        ...

    def inverse(self, x: Float[Tensor, "*C n"]) -> Float[Tensor, "*C n"]:
        """S^{-1} x."""
        ...

    def diagonal(self) -> Float[Tensor, "*B n"]:
        """The variances."""
        ...

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det S."""
        ...

    def draw(self, shape: torch.Size) -> Float[Tensor, "*C n"]:
        """Differentiable samples of N(0, S) of this shape, whose last axis is n."""
        ...

    def gram(self, linear_map: LinearMap) -> Gram:
        """The factored A S A^T."""
        ...

    def conditional_variance(self, linear_map: LinearMap, gram: Gram) -> Float[Tensor, "*B n"]:
        """The diagonal of S - S A^T G^{-1} A S, at least zero."""
        ...

    def trace_of_inverse_times(self, other: ConditionedCovariance) -> Float[Tensor, "*B"]:
        """tr(S^{-1} T) for a conditioned covariance T."""
        ...


@dataclass(frozen=True)
class Diagonal:
    """diag(v), v of shape (*B, n), at least zero.

    Raises:
        ValueError: a variance is negative or not finite, if `validate_args` is set.
    """

    variance: Float[Tensor, "*B n"]
    validate_args: InitVar[bool] = True

    def __post_init__(self, validate_args: bool) -> None:
        if validate_args:
            require_variances(self.variance)

    @property
    def batch_shape(self) -> torch.Size:
        return self.variance.shape[:-1]

    @property
    def dimension(self) -> int:
        return self.variance.shape[-1]

    def double(self) -> Diagonal:
        return Diagonal(self.variance.double(), validate_args=False)

    def matmul(self, x: Tensor) -> Tensor:
        return self.variance * x

    def inverse(self, x: Tensor) -> Tensor:
        return x / self.variance

    def diagonal(self) -> Tensor:
        return self.variance

    def logdet(self) -> Tensor:
        return self.variance.log().sum(-1)

    def draw(self, shape: torch.Size) -> Tensor:
        # The square root has no derivative at zero: coordinates with zero variance are masked.
        free = self.variance > 0
        root = torch.where(free, self.variance, 1.0).sqrt() * free
        return root * torch.randn(shape, dtype=root.dtype, device=root.device)

    def gram(self, linear_map: LinearMap) -> LeverageGram:
        return linear_map.gram(self.variance)

    def conditional_variance(self, linear_map: LinearMap, gram: Gram) -> Tensor:
        assert isinstance(gram, LeverageGram)
        return (self.variance - self.variance**2 * gram.leverage()).clamp(min=0)

    def trace_of_inverse_times(self, other: ConditionedCovariance) -> Tensor:
        return (other.diagonal() / self.variance).sum(-1)


@dataclass(frozen=True)
class ScaledIdentity:
    """v I in `dimension` coordinates, v positive of shape (*B,). A A^T is factored once for all variances.

    Raises:
        ValueError: a variance is not positive or not finite, if `validate_args` is set.
    """

    variance: Float[Tensor, "*B"]
    dimension: int
    validate_args: InitVar[bool] = True

    def __post_init__(self, validate_args: bool) -> None:
        if validate_args:
            require_variances(self.variance, positive=True)

    @property
    def batch_shape(self) -> torch.Size:
        return self.variance.shape

    def double(self) -> ScaledIdentity:
        return ScaledIdentity(self.variance.double(), self.dimension, validate_args=False)

    def matmul(self, x: Tensor) -> Tensor:
        return self.variance[..., None] * x

    def inverse(self, x: Tensor) -> Tensor:
        return x / self.variance[..., None]

    def diagonal(self) -> Tensor:
        return self.variance[..., None].expand(*self.batch_shape, self.dimension)

    def logdet(self) -> Tensor:
        return self.dimension * self.variance.log()

    def draw(self, shape: torch.Size) -> Tensor:
        return Diagonal(self.diagonal(), validate_args=False).draw(shape)

    def gram(self, linear_map: LinearMap) -> ScaledGram:
        unit = linear_map.unit_gram
        return ScaledGram(unit, self.variance, unit.rows)

    def conditional_variance(self, linear_map: LinearMap, gram: Gram) -> Tensor:
        assert isinstance(gram, ScaledGram) and isinstance(gram.unit, LeverageGram)
        return (self.variance[..., None] * (1 - gram.unit.leverage())).clamp(min=0)

    def trace_of_inverse_times(self, other: ConditionedCovariance) -> Tensor:
        return other.diagonal().sum(-1) / self.variance


@dataclass(frozen=True)
class LowRankPlusDiagonal:
    """D + F F^T, with D = diag(v), v positive of shape (*B, n), and F of shape (*B, n, r).

    Raises:
        ValueError: a variance is not positive or not finite, or the factor is not finite or does not fit, if
            `validate_args` is set.
    """

    factor: Float[Tensor, "*B n r"]
    variance: Float[Tensor, "*B n"]
    validate_args: InitVar[bool] = True

    def __post_init__(self, validate_args: bool) -> None:
        if not validate_args:
            return
        require_variances(self.variance, positive=True)
        if self.factor.ndim < 2 or self.factor.shape[-2] != self.variance.shape[-1]:
            raise ValueError(
                f"the factor F must have the shape (*B, {self.variance.shape[-1]}, r), "
                f"found {tuple(self.factor.shape)}."
            )
        require_finite(self.factor, "the factor F of a covariance")

    @property
    def batch_shape(self) -> torch.Size:
        return common_batch(self.variance.shape[:-1], self.factor.shape[:-2])

    @property
    def dimension(self) -> int:
        return self.variance.shape[-1]

    def double(self) -> LowRankPlusDiagonal:
        return LowRankPlusDiagonal(self.factor.double(), self.variance.double(), validate_args=False)

    def matmul(self, x: Tensor) -> Tensor:
        return self.variance * x + _times(self.factor, _times(self.factor.mT, x))

    def inverse(self, x: Tensor) -> Tensor:
        first = x / self.variance
        inner = self._capacity().solve(_times(self.factor.mT, first))
        return first - _times(self.factor, inner) / self.variance

    def diagonal(self) -> Tensor:
        return self.variance + self.factor.square().sum(-1)

    def logdet(self) -> Tensor:
        return self.variance.log().sum(-1) + self._capacity().logdet()

    def draw(self, shape: torch.Size) -> Tensor:
        own = Diagonal(self.variance, validate_args=False).draw(shape)
        shared = torch.randn(*shape[:-1], self.factor.shape[-1], dtype=own.dtype, device=own.device)
        return own + _times(self.factor, shared)

    def gram(self, linear_map: LinearMap) -> LowRankGram:
        base = linear_map.gram(self.variance)
        update = linear_map.apply(self.factor.mT).mT
        solved = _solve_columns(base, update)
        return LowRankGram(base, update, _one_plus(update.mT @ solved))

    def conditional_variance(self, linear_map: LinearMap, gram: Gram) -> Tensor:
        assert isinstance(gram, LowRankGram)
        of_diagonal = Diagonal(self.variance, validate_args=False).conditional_variance(linear_map, gram.base)
        lifted = linear_map.adjoint(_solve_columns(gram.base, gram.update).mT).mT
        projected = self.factor - self.variance[..., None] * lifted
        whitened = torch.linalg.solve_triangular(gram.capacity.factor, projected.mT, upper=False)
        return of_diagonal + whitened.square().sum(-2)

    def trace_of_inverse_times(self, other: ConditionedCovariance) -> Tensor:
        scaled = self.factor / self.variance[..., None]
        columns = torch.stack([other.matmul(column) for column in scaled.unbind(-1)], -1)
        inner = scaled.mT @ columns
        correction = torch.cholesky_solve(inner, self._capacity().factor).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (other.diagonal() / self.variance).sum(-1) - correction

    def _capacity(self) -> FactoredGram:
        return _one_plus(self.factor.mT @ (self.factor / self.variance[..., None]))


@dataclass(frozen=True)
class DenseCovariance:
    """A symmetric, positive definite matrix (*B, n, n).

    Raises:
        ValueError: the matrix is not square, finite, symmetric up to rounding in its dtype, or has a variance
            that is not positive, if `validate_args` is set.
        DegenerateGaussianError: the matrix is not positive definite.
    """

    matrix: Float[Tensor, "*B n n"]
    validate_args: InitVar[bool] = True

    def __post_init__(self, validate_args: bool) -> None:
        if validate_args:
            require_symmetric(self.matrix)
            cholesky(self.matrix.detach().double(), "the covariance")

    @property
    def batch_shape(self) -> torch.Size:
        return self.matrix.shape[:-2]

    @property
    def dimension(self) -> int:
        return self.matrix.shape[-1]

    def double(self) -> DenseCovariance:
        return DenseCovariance(self.matrix.double(), validate_args=False)

    def matmul(self, x: Tensor) -> Tensor:
        return _times(self.matrix, x)

    def inverse(self, x: Tensor) -> Tensor:
        return FactoredGram(self._factor).solve(x)

    def diagonal(self) -> Tensor:
        return self.matrix.diagonal(dim1=-2, dim2=-1)

    def logdet(self) -> Tensor:
        return FactoredGram(self._factor).logdet()

    def draw(self, shape: torch.Size) -> Tensor:
        return _times(self._factor, torch.randn(shape, dtype=self.matrix.dtype, device=self.matrix.device))

    def gram(self, linear_map: LinearMap) -> FactoredGram:
        product = linear_map.apply(linear_map.apply(self.matrix).mT)
        return FactoredGram(cholesky(product, "A S A^T"))

    def conditional_variance(self, linear_map: LinearMap, gram: Gram) -> Tensor:
        assert isinstance(gram, FactoredGram)
        whitened = torch.linalg.solve_triangular(gram.factor, linear_map.apply(self.matrix).mT, upper=False)
        return (self.diagonal() - whitened.square().sum(-2)).clamp(min=0)

    def trace_of_inverse_times(self, other: ConditionedCovariance) -> Tensor:
        quotient = torch.cholesky_solve(other.dense(), self._factor)
        return quotient.diagonal(dim1=-2, dim2=-1).sum(-1)

    @cached_property
    def _factor(self) -> Tensor:
        return cholesky(self.matrix, "the covariance")


def as_covariance(
    mean: Float[Tensor, "*B n"], covariance: Covariance | Tensor, *, validate_args: bool = True
) -> Covariance:
    """Interprets a tensor as a covariance: a scalar as v I, (n,) or (*B, n) as diagonal, (n, n) as dense.

    Args:
        mean: the mean, which determines n and *B.
        covariance: the tensor, or a covariance, which is returned as it is.
        validate_args: whether to check the values.

    Raises:
        ValueError: the dimensions do not match, the shape fits none of these cases (use one of the classes),
            or the values are not those of a covariance, if `validate_args` is set.
    """
    n = mean.shape[-1]
    if not isinstance(covariance, Tensor):
        if covariance.dimension != n:
            raise ValueError(
                f"a mean of {n} coordinates does not fit a covariance of {covariance.dimension}."
            )
        return covariance
    if covariance.ndim == 0:
        return ScaledIdentity(covariance, n, validate_args=validate_args)
    if covariance.shape == (n,) or covariance.shape == mean.shape:
        return Diagonal(covariance, validate_args=validate_args)
    if mean.ndim == 1 and covariance.shape == (n, n):
        return DenseCovariance(covariance, validate_args=validate_args)
    raise ValueError(
        f"a covariance of shape {tuple(covariance.shape)} is ambiguous for a mean of shape "
        f"{tuple(mean.shape)}: "
        "pass a scalar, a diagonal of the mean's shape, or one of Diagonal, ScaledIdentity, "
        "LowRankPlusDiagonal and DenseCovariance."
    )


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x[..., None]).squeeze(-1)


def _solve_columns(gram: Gram, columns: Float[Tensor, "*B m r"]) -> Float[Tensor, "*B m r"]:
    """G^{-1} times each column, all in one solve: the columns become the leading axis."""
    return gram.solve(columns.movedim(-1, 0)).movedim(0, -1)


def _one_plus(matrix: Float[Tensor, "*B r r"]) -> FactoredGram:
    """The factored I + M."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return FactoredGram(cholesky(identity + matrix, "I + F^T D^{-1} F"))

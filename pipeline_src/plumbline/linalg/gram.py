r"""Factored Gram matrices G = A S A^T of a linear map A and a covariance S.

Conditioning on A z = k needs only G^{-1} r and log det G. Their cost depends on how G is stored: as a
Cholesky factor, as a scalar times the factored A A^T, or as a factored G_D plus a low-rank term, by the
Woodbury identity

    (G_D + W W^T)^{-1} = G_D^{-1} - G_D^{-1} W (I + W^T G_D^{-1} W)^{-1} W^T G_D^{-1}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.linalg.checks import require


class DegenerateGaussianError(ValueError):
    """A Gaussian lacks the variance to meet an equality, or has no density."""


@runtime_checkable
class Gram(Protocol):
    """A factored G = A S A^T."""

    def solve(self, residual: Float[Tensor, "*B m"]) -> Float[Tensor, "*B m"]:
        """G^{-1} r."""
        ...

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det G."""
        ...


@runtime_checkable
class LeverageGram(Gram, Protocol):
    """The Gram matrix of a diagonal covariance, which can compute the diagonal of A^T G^{-1} A."""

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        ...

    def leverage(self) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} A."""
        ...

    def leverage_through(self, other: Any) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} G' G^{-1} A, for another Gram matrix G' of the same map."""
        ...


@runtime_checkable
class FactoredRows(Protocol):
    """The rows of a linear map A from (*B, n) to (*B, m), with A A^T factored.

    A map whose rows depend on each other has the attribute `dependent`, which is true, and solves with the
    pseudo-inverse of A A^T.
    """

    def to(self, like: Tensor) -> FactoredRows:
        """The rows in the dtype and on the device of `like`."""
        ...

    def apply(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """A x."""
        ...

    def adjoint(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B n"]:
        """A^T y."""
        ...

    @property
    def unit_gram(self) -> Gram:
        """The factored A A^T, which defines volumes on the feasible set."""
        ...


@runtime_checkable
class LinearMap(FactoredRows, Protocol):
    """A linear map A from samples (*B, n) to residuals (*B, m)."""

    def to(self, like: Tensor) -> LinearMap:
        """The map in the dtype and on the device of `like`."""
        ...

    def absolute(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """|A| |x|."""
        ...

    def gram(self, variance: Float[Tensor, "*B n"]) -> LeverageGram:
        """The factored A V A^T for diagonal V."""
        ...

    @property
    def unit_gram(self) -> LeverageGram:
        """The factored A A^T, which defines volumes on the feasible set."""
        ...


@dataclass(frozen=True)
class FactoredGram:
    """G, stored as its lower Cholesky factor (*B, m, m)."""

    factor: Float[Tensor, "*B m m"]

    def solve(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C m"]:
        """G^{-1} r, where r may have more leading batch axes than G."""
        if self.factor.ndim == 2:
            columns = residual.reshape(-1, residual.shape[-1]).mT
            return torch.cholesky_solve(columns, self.factor).mT.reshape(residual.shape)
        return torch.cholesky_solve(residual[..., None], self.factor).squeeze(-1)

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det G."""
        return 2 * self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@dataclass(frozen=True)
class ScaledGram:
    """v G_1, the Gram matrix of the scaled identity v I, with the factored G_1 = A A^T of m rows."""

    unit: Gram
    scale: Float[Tensor, "*B"]
    rows: int

    def solve(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C m"]:
        """G^{-1} r."""
        return self.unit.solve(residual) / self.scale[..., None]

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det G."""
        return self.unit.logdet() + self.rows * self.scale.log()


@dataclass(frozen=True)
class LowRankGram:
    """G_D + W W^T, with W (`update`) of shape (*B, m, r) and the factored I + W^T G_D^{-1} W (`capacity`)."""

    base: Gram
    update: Float[Tensor, "*B m r"]
    capacity: FactoredGram

    def solve(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C m"]:
        """G^{-1} r."""
        first = self.base.solve(residual)
        inner = self.capacity.solve((self.update.mT @ first[..., None]).squeeze(-1))
        return first - self.base.solve((self.update @ inner[..., None]).squeeze(-1))

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det G."""
        return self.base.logdet() + self.capacity.logdet()


def cholesky(matrix: Float[Tensor, "*B m m"], what: str) -> Float[Tensor, "*B m m"]:
    """The lower Cholesky factor.

    Raises:
        DegenerateGaussianError: the matrix, which `what` names in the message, is not positive definite.
    """
    if matrix.device.type != "cpu":  # `torch.linalg.cholesky` would wait for the device
        factor, failed = torch.linalg.cholesky_ex(matrix)
        require((failed == 0).all(), lambda: DegenerateGaussianError(what), f"{what} is positive definite")
        return factor
    try:
        return torch.linalg.cholesky(matrix)
    except torch.linalg.LinAlgError as error:
        raise DegenerateGaussianError(f"{what} is not positive definite: {error}") from error


def common_batch(*shapes: torch.Size) -> torch.Size:
    """The shape to which batches of these shapes broadcast.

    Uses NumPy's rule, which equals torch's, because `torch.broadcast_shapes` imports SymPy on its first call.
    """
    return torch.Size(np.broadcast_shapes(*shapes))

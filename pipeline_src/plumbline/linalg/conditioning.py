r"""A Gaussian conditioned on linear equalities.

For z ~ N(m, S) and A of full row rank, with G = A S A^T,

    E[z | A z = k]   = m + S A^T G^{-1} (k - A m)
    Cov[z | A z = k] = S - S A^T G^{-1} A S

(Li, Sahu, Van den Broeck, Zeng 2025, Proposition 8.1, https://arxiv.org/abs/2502.05416), for any structure of
S and any linear map A that can factor A V A^T for diagonal V.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.linalg.covariance import Covariance
from plumbline.linalg.gram import Gram, LinearMap


@dataclass(frozen=True)
class ConditionedCovariance:
    """Cov[z | A z = k], stored as S, A and the factored A S A^T.

    Attributes:
        covariance: S, for a batch *B.
        linear_map: A.
        gram: the factored A S A^T.
    """

    covariance: Covariance
    linear_map: LinearMap
    gram: Gram

    def gain(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C n"]:
        """S A^T G^{-1} r, the correction that removes a residual r."""
        return self.covariance.matmul(self.linear_map.adjoint(self.gram.solve(residual)))

    def matmul(self, x: Float[Tensor, "*C n"]) -> Float[Tensor, "*C n"]:
        """The covariance times vectors, without forming a matrix."""
        scaled = self.covariance.matmul(x)
        return scaled - self.gain(self.linear_map.apply(scaled))

    def diagonal(self) -> Float[Tensor, "*B n"]:
        """The conditional marginal variances (Proposition 4.1), at least zero."""
        return self.covariance.conditional_variance(self.linear_map, self.gram)

    def dense(self) -> Float[Tensor, "*B n n"]:
        """The n-by-n matrix; for small n."""
        variance = self.covariance.diagonal()
        n, batch = variance.shape[-1], self.covariance.batch_shape
        columns = torch.eye(n, dtype=variance.dtype, device=variance.device)
        return self.matmul(columns.view(n, *(1,) * len(batch), n).expand(n, *batch, n)).movedim(0, -1)


def conditioned_covariance(covariance: Covariance, linear_map: LinearMap) -> ConditionedCovariance:
    """Conditions the covariance S on A z = k by factoring A S A^T; the result does not depend on k.

    Raises:
        DegenerateGaussianError: A S A^T of a dense A is not positive definite.
    """
    return ConditionedCovariance(covariance, linear_map, covariance.gram(linear_map))

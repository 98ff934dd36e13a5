r"""Graph shift operators from pairs of signals.

With the signals x_i that are known and y_i that are asked for, as columns of X and Y,

    C_XX = X X^T / M,    C_XY = (X Y^T + Y X^T) / (2 M).

The cross-covariance is that of the tangent kernel's best alignment (arXiv:2310.10791, theorem 1); it is made of the training pairs alone.
That of shuffled pairs has the same marginals, and nothing of what they have to do with each other.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def shift_operator(graph: str, x: Float[Tensor, "M n"], y: Float[Tensor, "M n"]) -> Float[Tensor, "n n"]:
    """The operator of a kind of graph, of spectral norm one."""
    n = x.shape[1]
    if graph == "identity":
        return torch.eye(n, dtype=x.dtype)
    if graph == "covariance":
        operator = x.T @ x
    elif graph == "cross_covariance":
        operator = x.T @ y
    elif graph == "shuffled":
        operator = x.T @ y[torch.randperm(len(y))]
    else:
        operator = torch.randn(n, n, dtype=x.dtype)
    operator = symmetric_part(operator)
    return operator / torch.linalg.matrix_norm(operator, ord=2)


def symmetric_part(matrix: Float[Tensor, "*R n n"]) -> Float[Tensor, "*R n n"]:
    """(S + S^T) / 2."""
    return 0.5 * (matrix + matrix.mT)

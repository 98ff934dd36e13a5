"""Checks of variances, covariances and finite values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Largest difference between entries (i, j) and (j, i) of a covariance, in machine epsilons times the product
# of their standard deviations.
ASYMMETRY = 1000


def require_variances(variance: Tensor, *, positive: bool = False) -> float:
    """Checks variances and returns the smallest, or infinity if there are none.

    Raises:
        ValueError: a variance is not finite or is negative, or is zero while `positive` is set.
    """
    if not variance.numel():
        return math.inf
    least, most = (float(value) for value in torch.aminmax(variance.detach()))
    allowed = least > 0 if positive else least >= 0
    if not (allowed and most < math.inf):
        expected = "positive" if positive else "at least zero"
        raise ValueError(
            f"variances must be finite and {expected}, found values from {least:.6g} to {most:.6g}."
        )
    return least


def require_finite(numbers: Tensor, what: str) -> None:
    """Checks that all values are finite; `what` is their name in the message.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    finite = torch.isfinite(numbers.detach())
    if not bool(finite.all()):
        raise ValueError(
            f"{what} must be finite, found NaN or infinity in {int((~finite).sum())} "
            f"of {finite.numel()} values."
        )


def require_symmetric(matrix: Tensor) -> None:
    """Checks that a matrix (*B, n, n) is finite, symmetric up to rounding and has positive variances.

    Raises:
        ValueError: the matrix is not square or fails one of these checks.
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"a covariance must have the shape (*B, n, n), found {tuple(matrix.shape)}.")
    require_finite(matrix, "a covariance")
    eps = torch.finfo(matrix.dtype if matrix.dtype.is_floating_point else torch.float64).eps
    matrix = matrix.detach().double()
    require_variances(matrix.diagonal(dim1=-2, dim2=-1), positive=True)
    scale = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    correlations = matrix / scale[..., None] / scale[..., None, :]
    asymmetry = (correlations - correlations.mT).abs()
    if matrix.numel() and float(asymmetry.amax()) > ASYMMETRY * eps:
        raise ValueError(
            f"a covariance must be symmetric: entries (i, j) and (j, i) differ by "
            f"{float(asymmetry.amax()):.3g} times the product of their standard deviations."
        )

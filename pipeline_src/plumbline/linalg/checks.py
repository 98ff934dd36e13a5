"""Checks of numbers that are to be variances, covariances, or finite."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Roundings by which entries (i, j) and (j, i) of a covariance may differ, in units of the product of deviations.
ASYMMETRY = 1000


def require_variances(variance: Tensor, *, positive: bool = False) -> float:
    """The least of some variances, infinite where there are none, once they are found to be variances.

    Raises:
        ValueError: one that is not finite or is negative, or is zero with `positive`.
    """
    if not variance.numel():
        return math.inf
    least, most = (float(number) for number in torch.aminmax(variance.detach()))
    allowed = least > 0 if positive else least >= 0
    if not (allowed and most < math.inf):
        wanted = "positive" if positive else "at least zero"
        raise ValueError(
            f"variances must be finite and {wanted}, found numbers from {least:.6g} to {most:.6g}."
        )
    return least


def require_finite(numbers: Tensor, what: str) -> None:
    """Checks that numbers are finite.

    Raises:
        ValueError: `what` says which ones are not.
    """
    finite = torch.isfinite(numbers.detach())
    if not bool(finite.all()):
        raise ValueError(
            f"{what} must be finite, found NaN or infinity in {int((~finite).sum())} of {finite.numel()} numbers."
        )


def require_symmetric(matrix: Tensor) -> None:
    """Checks that a matrix (*B, n, n) is finite and symmetric to the rounding of its dtype, with positive variances.

    Raises:
        ValueError: saying which it is not.
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"a covariance must be (*B, n, n), found the shape {tuple(matrix.shape)}.")
    require_finite(matrix, "a covariance")
    eps = torch.finfo(matrix.dtype if matrix.dtype.is_floating_point else torch.float64).eps
    matrix = matrix.detach().double()
    require_variances(matrix.diagonal(dim1=-2, dim2=-1), positive=True)
    scale = matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    correlations = matrix / scale[..., None] / scale[..., None, :]
    asymmetry = (correlations - correlations.mT).abs()
    if matrix.numel() and float(asymmetry.amax()) > ASYMMETRY * eps:
        raise ValueError(
            f"a covariance must be symmetric: entries (i, j) and (j, i) differ by {float(asymmetry.amax()):.3g} of the "
            "product of deviations."
        )

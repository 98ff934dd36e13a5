"""Checks of variances, covariances and finite values.

On a CPU a check raises its error at once. On a GPU it does not wait for the values: the device checks them
when it has computed them, and a check that fails ends the process, with its text on standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

# Largest difference between entries (i, j) and (j, i) of a covariance, in machine epsilons times the product
# of their standard deviations.
ASYMMETRY = 1000


def require(condition: Tensor, error: Callable[[], Exception], expected: str) -> None:
    """Checks that a condition () holds.

    Args:
        condition: the condition.
        error: makes the error to raise if it does not hold, on a CPU.
        expected: what holds, for the message on a GPU, which cannot contain values.
    """
    if condition.device.type == "cpu":
        if not bool(condition):
            raise error()
    else:
        torch._assert_async(condition, expected)


def require_variances(variance: Tensor, *, positive: bool = False) -> bool:
    """Checks variances and returns whether all are known to be positive, which those on a GPU never are.

    Raises:
        ValueError: a variance is not finite or is negative, or is zero while `positive` is set.
    """
    if not variance.numel():
        return True
    if variance.device.type != "cpu":
        values = variance.detach()
        allowed = values > 0 if positive else values >= 0
        torch._assert_async((allowed & torch.isfinite(values)).all(), "variances are finite and positive")
        return positive
    least, most = (float(value) for value in torch.aminmax(variance.detach()))
    sign = least > 0 if positive else least >= 0
    if not (sign and most < math.inf):
        expected = "positive" if positive else "at least zero"
        raise ValueError(
            f"variances must be finite and {expected}, found values from {least:.6g} to {most:.6g}."
        )
    return least > 0


def require_finite(numbers: Tensor, what: str) -> None:
    """Checks that all values are finite; `what` is their name in the message.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    finite = torch.isfinite(numbers.detach())
    require(
        finite.all(),
        lambda: ValueError(
            f"{what} must be finite, found NaN or infinity in {int((~finite).sum())} "
            f"of {finite.numel()} values."
        ),
        f"{what} is finite",
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

r"""The head of a Gaussian output: a mean and a variance a coordinate.

The variance is floor + softplus(w . h + c). Its weights start at zero and c where the variance is the square of the
`initial_deviation` asked for: an expected loss holds the sum of the variances, and one that starts large makes
the training spend itself on shrinking them.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GaussianHead(nn.Module):
    """Mean and variance (..., n) from features (..., F).

    Args:
        features: F.
        numbers: n.
        initial_deviation: the standard deviation at the start.
        smallest_deviation: the standard deviation that none goes below.
    """

    def __init__(
        self, features: int, numbers: int, initial_deviation: float, smallest_deviation: float
    ) -> None:
        super().__init__()
        self.mean = nn.Linear(features, numbers)
        self.raw_variance = nn.Linear(features, numbers)
        self.floor = smallest_deviation**2
        nn.init.zeros_(self.raw_variance.weight)
        nn.init.constant_(self.raw_variance.bias, raw_start(initial_deviation, smallest_deviation))

    def forward(
        self, features: Float[Tensor, "*B F"], *, variance_apart: bool = False
    ) -> tuple[Float[Tensor, "*B n"], Float[Tensor, "*B n"]]:
        """Mean and variance; with `variance_apart`, the variance hands no gradient to the features."""
        read = features.detach() if variance_apart else features
        return self.mean(features), self.floor + torch.nn.functional.softplus(self.raw_variance(read))


def raw_start(initial_deviation: float, smallest_deviation: float) -> float:
    """c, from the deviations that a head starts at and never goes below."""
    above = max(initial_deviation**2 - smallest_deviation**2, 0.01 * initial_deviation**2)
    # softplus^{-1}, from its value at the start.
    return above + math.log(-math.expm1(-above))

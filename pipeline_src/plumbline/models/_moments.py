r"""Mean and standard deviation of data that arrives in blocks, in double precision.

The mean m and the sum S of squared deviations of n values are merged with those of a further block by

    m = m_1 + (m_2 - m_1) n_2 / n,    S = S_1 + S_2 + (m_2 - m_1)^2 n_1 n_2 / n

(Chan, Golub, LeVeque, 1983, https://doi.org/10.1080/00031305.1983.10483115), which is as accurate as two
passes over all values.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 2**18
"""Number of values that are converted to double precision at once."""


class RunningMoments:
    """Mean, standard deviation and largest absolute value of each coordinate of samples (N, *S)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = self.size = torch.zeros((), dtype=torch.float64)

    def add(self, x: Float[Tensor, "N *S"]) -> None:
        """Adds further samples."""
        rows = max(1, BLOCK // max(1, x[:1].numel()))
        for block in x.split(rows):
            self._merge(block.double())

    @property
    def std(self) -> Float[Tensor, " *S"]:
        """The standard deviation, with Bessel's correction; NaN for a single sample."""
        return (self.squares / (self.count - 1 or torch.nan)).sqrt()

    def _merge(self, x: Float[Tensor, "N *S"]) -> None:
        if not len(x):
            return
        mean, size = x.mean(0), x.abs().amax(0)
        squares = (x - mean).square_().sum(0)
        if not self.count:
            self.count, self.mean, self.squares, self.size = len(x), mean, squares, size
            return
        total = self.count + len(x)
        shift = mean - self.mean
        self.mean = self.mean + shift * (len(x) / total)
        self.squares = self.squares + squares + shift.square() * (self.count * (len(x) / total))
        self.size = torch.maximum(self.size, size)
        self.count = total

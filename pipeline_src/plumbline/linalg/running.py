r"""The mean and the products of deviations of vectors that arrive in blocks, in double precision.

The products S = sum (v - m) (v - m)^T of the deviations from the mean m are merged with those of a further
block by

    S = S_1 + S_2 + (m_2 - m_1) (m_2 - m_1)^T n_1 n_2 / n

(Chan, Golub, LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115), which is as accurate as two
passes over all vectors.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class RunningProducts:
    """Number, mean (n,) and products of deviations (n, n) of vectors (N, n)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.products = torch.zeros((), dtype=torch.float64)

    def add(self, v: Float[Tensor, "N n"]) -> None:
        """Adds further vectors, all of which are converted to double precision at once."""
        if not len(v):
            return
        v = v.double()
        mean = v.mean(0)
        moved = v - mean
        products = moved.mT @ moved
        if not self.count:
            self.count, self.mean, self.products = len(v), mean, products
            return
        total = self.count + len(v)
        shift = mean - self.mean
        self.mean = self.mean + shift * (len(v) / total)
        self.products = self.products + products + torch.outer(shift, shift) * (self.count * (len(v) / total))
        self.count = total

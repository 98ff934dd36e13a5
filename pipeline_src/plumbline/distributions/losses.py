r"""Point-wise losses and their expectation under Gaussian marginals.

For z ~ N(b + d, v) (Li, Sahu, Van den Broeck, Zeng 2025, https://arxiv.org/abs/2502.05416, Proposition 5.1),

    E|z - b|   = sqrt(2 v / pi) exp(-d^2 / 2 v) + d erf(d / sqrt(2 v)),    the mean of a folded normal,
    E(z - b)^2 = d^2 + v.

Both increase with v: a model that minimises only these losses makes its variances as small as possible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class HasExpectedLosses(Protocol):
    """A distribution with closed-form expected losses per coordinate."""

    def expected_l1(self, target: Tensor) -> Tensor:
        """The expected losses E|z_i - b_i| (*B, n) for a target b (*B, n)."""
        ...

    def expected_l2(self, target: Tensor) -> Tensor:
        """The expected losses E(z_i - b_i)^2 (*B, n) for a target b (*B, n)."""
        ...


@dataclass(frozen=True)
class AbsoluteLoss:
    """The loss sum_i |z_i - b_i| (*B,) of samples (*B, n) for a target b (*B, n)."""

    target: Float[Tensor, "*B n"]

    def __call__(self, z: Tensor) -> Tensor:
        return (z - self.target).abs().sum(-1)

    def expected(self, distribution: HasExpectedLosses) -> Tensor:
        return distribution.expected_l1(self.target).sum(-1)


@dataclass(frozen=True)
class SquaredLoss:
    """The loss sum_i (z_i - b_i)^2 (*B,) of samples (*B, n) for a target b (*B, n)."""

    target: Float[Tensor, "*B n"]

    def __call__(self, z: Tensor) -> Tensor:
        return (z - self.target).square().sum(-1)

    def expected(self, distribution: HasExpectedLosses) -> Tensor:
        return distribution.expected_l2(self.target).sum(-1)


def expected_absolute(d: Float[Tensor, "*B n"], v: Float[Tensor, "*C n"]) -> Float[Tensor, "*D n"]:
    """E|z - b| for z - b ~ N(d, v): the mean of a folded normal; |d| where v is zero."""
    free = v > 0
    std = torch.where(free, v, 1.0).sqrt()
    ratio = d / (math.sqrt(2) * std)
    folded = math.sqrt(2 / math.pi) * std * torch.exp(-ratio.square()) + d * torch.erf(ratio)
    return torch.where(free, folded, d.abs())


def expected_squared(d: Float[Tensor, "*B n"], v: Float[Tensor, "*C n"]) -> Float[Tensor, "*D n"]:
    """E(z - b)^2 for z - b ~ N(d, v)."""
    return d.square() + v

r"""Differences between weighted sums, such as the drift of totals along an axis.

Let M_0, ..., M_{T-1} be weighted sums over disjoint groups of coordinates, such as the mass at each time. The
rows of A are M_t - M_0 for t = 1, ..., T-1. For a diagonal V, let g_t be the variance of M_t, p_t = 1 / g_t
and P = sum_t p_t. Then

    A V A^T = diag(g_1, ..., g_{T-1}) + g_0 1 1^T.

By the Sherman-Morrison formula, with r_0 = 0 and c = sum_t p_t r_t / P,

    (A V A^T)^{-1} r = (p_t (r_t - c))_{t >= 1},    log det A V A^T = sum_t log g_t + log P.

Here c is the common total to which the sums move. All operations cost O(n), and no matrix is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from plumbline.linalg.maps import GroupSum

# Variance of a group, relative to the largest one, that replaces zero.
NO_VARIANCE = 1e-30


@dataclass(frozen=True)
class DifferenceGram:
    """A V A^T, represented by the variances g (*B, S, T) of the sums in S series."""

    sums: GroupSum
    variances: Float[Tensor, "*B S T"]

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        series, steps = self.variances.shape[-2:]
        return series * (steps - 1)

    @cached_property
    def precisions(self) -> Float[Tensor, "*B S T"]:
        """p = 1 / g; large but finite where the variance is zero."""
        largest = self.variances.amax(-1, keepdim=True)
        least = torch.where(largest > 0, NO_VARIANCE * largest, 1.0)
        return 1 / torch.maximum(self.variances, least)

    def solve(self, residual: Float[Tensor, "*C m"]) -> Float[Tensor, "*C m"]:
        """G^{-1} r."""
        series, steps = self.variances.shape[-2:]
        r = torch.nn.functional.pad(residual.unflatten(-1, (series, steps - 1)), (1, 0))
        p = self.precisions
        common = (p * r).sum(-1, keepdim=True) / p.sum(-1, keepdim=True)
        found = p * (r - common)
        # The multipliers of all groups add up to zero. This gives the largest one more accurately than its
        # own formula, which suffers from cancellation.
        largest = torch.zeros_like(p).scatter(-1, p.argmax(-1, keepdim=True), 1.0) > 0
        others = torch.where(largest, 0.0, found)
        found = torch.where(largest, -others.sum(-1, keepdim=True), found)
        return found[..., 1:].flatten(-2)

    def logdet(self) -> Float[Tensor, "*B"]:
        """log det G."""
        return (self.precisions.sum(-1).log() - self.precisions.log().sum(-1)).sum(-1)

    def leverage(self) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} A."""
        p = self.precisions
        return self._to_coordinates(p - p.square() / p.sum(-1, keepdim=True))

    def leverage_through(self, other: DifferenceGram) -> Float[Tensor, "*B n"]:
        """The diagonal of A^T G^{-1} G' G^{-1} A."""
        p, g = self.precisions, other.variances
        fraction = p / p.sum(-1, keepdim=True)
        return self._to_coordinates(
            p.square() * (g * (1 - 2 * fraction) + (g * fraction.square()).sum(-1, keepdim=True))
        )

    def _to_coordinates(self, values: Tensor) -> Tensor:
        spread = values.flatten(-2)[..., self.sums.groups]
        return spread if self.sums.weights is None else self.sums.weights**2 * spread


@dataclass(frozen=True)
class SumDifferences:
    """The differences M_t - M_0 of sums over groups, which form series of `steps` groups each.

    Attributes:
        sums: the sums; group s T + t is step t of series s.
        steps: T, at least two.

    Raises:
        ValueError: the groups do not form a whole number of series, or a series has fewer than two steps.
    """

    sums: GroupSum
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 2 or self.sums.rows % self.steps:
            raise ValueError(
                f"{self.sums.rows} groups do not form series of {self.steps} steps: give two steps or more, "
                "and the same number for each series."
            )

    @property
    def rows(self) -> int:
        """The number of equalities m."""
        return self.sums.rows // self.steps * (self.steps - 1)

    @property
    def columns(self) -> int:
        """The number of coordinates n."""
        return self.sums.columns

    def to(self, like: Tensor) -> SumDifferences:
        """The map in the dtype and on the device of `like`; itself if it already has them."""
        sums = self.sums.to(like)
        return self if sums is self.sums else SumDifferences(sums, self.steps)

    def apply(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """M_t - M_0."""
        totals = self._series(self.sums.apply(x))
        return (totals[..., 1:] - totals[..., :1]).flatten(-2)

    def absolute(self, x: Float[Tensor, "*B n"]) -> Float[Tensor, "*B m"]:
        """|A| |x|."""
        totals = self._series(self.sums.absolute(x))
        return (totals[..., 1:] + totals[..., :1]).flatten(-2)

    def adjoint(self, y: Float[Tensor, "*B m"]) -> Float[Tensor, "*B n"]:
        """A^T y."""
        later = y.unflatten(-1, (-1, self.steps - 1))
        return self.sums.adjoint(torch.cat([-later.sum(-1, keepdim=True), later], -1).flatten(-2))

    def gram(self, variance: Float[Tensor, "*B n"]) -> DifferenceGram:
        """A V A^T for V = diag(variance)."""
        return DifferenceGram(self.sums, self._series(self.sums.gram(variance).totals))

    @cached_property
    def unit_gram(self) -> DifferenceGram:
        """A A^T."""
        return DifferenceGram(self.sums, self._series(self.sums.unit_gram.totals))

    def rescaled(self, scale: Float[Tensor, " n"]) -> SumDifferences:
        """A diag(scale)."""
        return SumDifferences(self.sums.rescaled(scale), self.steps)

    def dense(self) -> Float[Tensor, "m n"]:
        """A as a matrix, for small n."""
        totals = self.sums.dense().unflatten(0, (-1, self.steps))
        return (totals[:, 1:] - totals[:, :1]).flatten(0, 1)

    def pivots(self, *, last: bool) -> Int[Tensor, " m"]:
        """The last (or first) coordinates that the differences can be solved for.

        In each series this is one coordinate from every group except one.
        """
        members = self._series(self.sums.pivots(last=last))
        ordered = members.sort(-1).values
        return (ordered[..., 1:] if last else ordered[..., :-1]).flatten().sort().values

    def _series(self, totals: Shaped[Tensor, "*B m"]) -> Shaped[Tensor, "*B S T"]:
        return totals.unflatten(-1, (-1, self.steps))

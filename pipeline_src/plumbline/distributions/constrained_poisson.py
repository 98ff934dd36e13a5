r"""Independent Poisson counts given their sum.

For z_i ~ Poisson(lambda_i) given sum_i z_i = k, the vector z is Multinomial(k, p) with
p_i = lambda_i / sum_j lambda_j, and each z_i is Binomial(k, p_i) (Li, Sahu, Van den Broeck, Zeng 2025,
https://arxiv.org/abs/2502.05416, Propositions 7.2 and 7.3). The distribution depends on the rates through p
only, so the total rate is not identified. The expected squared error of a count is (Proposition 7.1)

    E(z - b)^2 = (k p - b)^2 + k p (1 - p),

and `_count_errors` has the expected absolute error.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions import constraints as supports

from plumbline.distributions._count_errors import BinomialAbsoluteError
from plumbline.linalg.checks import require
from plumbline.linalg.gram import common_batch

NO_TOTAL = "totals must be finite whole numbers, at least zero: counts have no other sum."


class ConstrainedPoisson(Distribution):
    """Poisson(rate) given that the counts sum to `total`, batched over *B and differentiable in the rate.

    Args:
        rate: lambda, (*B, n), non-negative and not all zero.
        total: k, (*B,) or a number; an integer from zero to the largest one up to which the dtype of the
            rates represents all integers.
        validate_args: whether to check the rates; torch's default if None. Totals are always checked, since
            sampling with an infinite total would not end.

    Raises:
        ValueError: a rate or a total is outside its range.

    Example:
        >>> import torch
        >>> from plumbline.distributions import ConstrainedPoisson
        >>> counts = ConstrainedPoisson(torch.tensor([1.0, 3.0]), 8)
        >>> counts.mean
        tensor([2., 6.])
        >>> counts.sample((5,)).sum(-1)
        tensor([8., 8., 8., 8., 8.])
    """

    has_rsample = False
    arg_constraints: dict[str, supports.Constraint] = {}  # noqa: RUF012 (as torch declares it)
    support = supports.real_vector

    def __init__(
        self,
        rate: Float[Tensor, "*B n"],
        total: Tensor | float | int,
        validate_args: bool | None = None,
    ) -> None:
        if not rate.dtype.is_floating_point:
            raise ValueError(f"rates must be real numbers in floating point, found {rate.dtype}.")
        number = total if isinstance(total, Tensor) else torch.tensor(total, dtype=torch.float64)
        total = _checked_total(number.to(rate.device), rate.dtype)
        batch = common_batch(rate.shape[:-1], total.shape)
        self.rate = rate.expand(*batch, -1)
        self.total = total.expand(batch)
        self.probabilities = self.rate / self.rate.sum(-1, keepdim=True)
        super().__init__(batch, rate.shape[-1:], validate_args=validate_args)
        if self._validate_args:
            sums = rate.sum(-1)
            if not bool((rate >= 0).all() and (sums > 0).all() and torch.isfinite(sums).all()):
                raise ValueError("rates must be finite, at least zero, and not all zero.")

    @property
    def mean(self) -> Float[Tensor, "*B n"]:
        """The conditional mean k p."""
        return self.total[..., None] * self.probabilities

    @property
    def variance(self) -> Float[Tensor, "*B n"]:
        """The conditional variance k p_i (1 - p_i) of each count."""
        return self.mean * (1 - self.probabilities)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*C n"]:
        """Exact samples: a binary tree of log2(n) levels splits each total binomially between two halves."""
        shape = self._extended_shape(torch.Size(sample_shape))
        n = shape[-1]
        leaves = 1 << max(0, (n - 1).bit_length())
        weights = torch.nn.functional.pad(self.rate.detach().double(), (0, leaves - n))
        levels = [weights]
        while levels[-1].shape[-1] > 1:
            pairs = levels[-1].unflatten(-1, (-1, 2))
            levels.append(pairs.sum(-1))
        counts = self.total.detach().double().expand(shape[:-1])[..., None]
        for below in reversed(levels[:-1]):
            pairs = below.unflatten(-1, (-1, 2))
            both = pairs.sum(-1)
            fraction = torch.where(both > 0, pairs[..., 0] / both.clamp(min=1e-300), 0.5).clamp(0, 1)
            left = torch.binomial(counts, fraction.expand(counts.shape).contiguous())
            counts = torch.stack([left, counts - left], -1).flatten(-2)
        return counts[..., :n].to(self.rate.dtype)

    def log_prob(self, value: Float[Tensor, "*C n"]) -> Float[Tensor, "*C"]:
        """The multinomial log-probability in nats; minus infinity for counts that do not sum to the total."""
        possible = (value.sum(-1) == self.total) & (value >= 0).all(-1) & (value == value.round()).all(-1)
        safe = value.clamp(min=0)
        terms = torch.xlogy(safe, self.probabilities) - torch.lgamma(safe + 1)
        return torch.where(possible, torch.lgamma(self.total + 1) + terms.sum(-1), -torch.inf)

    def expected_l1(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E|z_i - b_i| of each count, in closed form (Proposition 7.1); differentiable once."""
        return BinomialAbsoluteError.apply(self.probabilities, self.total[..., None], target)

    def expected_l2(self, target: Float[Tensor, "*T n"]) -> Float[Tensor, "*B n"]:
        """E(z_i - b_i)^2 of each count, in closed form (Proposition 7.1)."""
        return (self.mean - target).square() + self.variance


def _checked_total(total: Tensor, dtype: torch.dtype) -> Tensor:
    """The totals in the dtype of the rates.

    Raises:
        ValueError: a total is not a non-negative integer that the dtype represents exactly.
    """
    most = round(1 / torch.finfo(dtype).eps) * 2
    if total.is_complex():
        raise ValueError(NO_TOTAL)
    exact = total.double()
    whole = torch.isfinite(exact) & (exact >= 0) & (exact == exact.round())
    require(whole.all(), lambda: ValueError(NO_TOTAL), NO_TOTAL)
    limit = f"totals must be at most {most:,} in {dtype}"
    require((exact <= most).all(), lambda: ValueError(f"{limit}, found {float(exact.max()):,.0f}."), limit)
    return total.to(dtype)

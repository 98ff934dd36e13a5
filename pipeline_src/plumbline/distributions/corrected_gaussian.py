r"""A Gaussian whose draws are moved to the feasible set by a fixed linear correction.

A free draw z of N(m, D), D = diag(s), becomes

    z' = z + K (k - A z),    K = M A^T G_M^{-1},    G_M = A M A^T,

with a diagonal metric M that says which coordinates give way. M = D conditions; M = I projects (Euclidean);
M = 1 on some pivot coordinates and 0 elsewhere solves for the pivots and leaves the rest (completion; for
equalities the Constrained Layer of Stoian et al. 2024, which clips one variable after the other, is this). With
H = A^T G_M^{-1} A,

    E z'_i    = m_i + (K (k - A m))_i
    Var z'_i  = s_i - 2 s_i M_i H_ii + M_i^2 (A^T G_M^{-1} G_D G_M^{-1} A)_ii.

All z on a fibre y + K t end at the same feasible y. Integrating the free density along it gives the law's density
on the feasible set: with r = y - m, Q = K^T D^{-1} K and c = K^T D^{-1} r,

    log p(y) = -1/2 [r^T D^{-1} r - c^T Q^{-1} c + log det D + log det Q + log det(A A^T) + (n - rank) log 2 pi],

where c^T Q^{-1} c = e^T G_B^{-1} e and log det Q = log det G_B - 2 log det G_M, for B = M^2 / D and e = A (M r / s).
Sums cost O(n), as everywhere; for M = D all of it is `ConstrainedGaussian`.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from plumbline.distributions.feasible_gaussian import LOG_TWO_PI, FeasibleGaussian, LinearConstraint
from plumbline.linalg.checks import require_finite, require_variances
from plumbline.linalg.covariance import Diagonal
from plumbline.linalg.gram import DegenerateGaussianError, LeverageGram


class CorrectedGaussian(FeasibleGaussian):
    """The law of N(mean, diag(variance)) after the correction with the metric M, batched over *B.

    Args:
        mean: m, (*B, n).
        variance: s, (*B, n), positive.
        constraint: A z = k, such as a `LinearEquality`.
        metric: M, (n,) or (*B, n), at least zero: how far each coordinate gives way.
        validate_args: whether mean, variances, metric and feasibility are checked; torch's default if None.

    Raises:
        ValueError: a mean that is not finite, a variance that is not positive, a metric that is negative.
        DegenerateGaussianError: the metric leaves no freedom to meet an equality.
    """

    def __init__(
        self,
        mean: Float[Tensor, "*B n"],
        variance: Float[Tensor, "*B n"],
        constraint: LinearConstraint,
        metric: Float[Tensor, "*M n"],
        validate_args: bool | None = None,
    ) -> None:
        checked = Distribution._validate_args if validate_args is None else validate_args
        if checked:
            require_finite(mean, "the mean of a Gaussian")
            require_variances(variance, positive=True)
            require_variances(metric)
        self.dtype = mean.dtype
        self.loc, self.spread, self.metric = mean.double(), variance.double(), metric.double()
        self.constraint = constraint
        self.rows = constraint.independent.to(self.loc)
        self.gram = self.rows.gram(self.metric)
        self._residual = constraint.independent_residual(self.loc)
        super().__init__(mean.shape[:-1], mean.shape[-1:], validate_args=False)
        if checked:
            self._require_feasible(self._mean, DegenerateGaussianError, "the corrected mean")

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*C n"]:
        """Differentiable samples, feasible to the rounding of their dtype."""
        free = self.loc + Diagonal(self.spread, validate_args=False).draw(
            self._extended_shape(torch.Size(sample_shape))
        )
        return self._feasible(free, self.constraint.independent_residual(free)).to(self.dtype)

    def log_prob(self, value: Float[Tensor, "*C n"]) -> Float[Tensor, "*C"]:
        """The log-density on the feasible set of a feasible value, which is not checked."""
        along, fixed, of_fibre = self._terms(value)
        rows = self.rows.unit_gram.logdet() + of_fibre.logdet() - 2 * self.gram.logdet()
        missing = (fixed * of_fibre.solve(fixed)).sum(-1) + self._residual.shape[-1] * LOG_TWO_PI
        return (-0.5 * (along.sum(-1) + rows - missing)).to(self.dtype)

    def log_prob_by_row(self, value: Float[Tensor, "*C n"]) -> Float[Tensor, "*C m"]:
        """The log-density of each group of coordinates, for sums over disjoint groups, which are independent.

        Raises:
            TypeError: A is not a sum over disjoint groups.
        """
        if not hasattr(self.rows, "sums"):
            raise TypeError("only sums over disjoint groups have a density a row.")
        along, fixed, of_fibre = self._terms(value)
        rows = self.rows.unit_gram.totals.log() + of_fibre.totals.log() - 2 * self.gram.totals.log()  # type: ignore[attr-defined]
        missing = fixed * of_fibre.solve(fixed) + LOG_TWO_PI
        return (-0.5 * (self.rows.sums(along) + rows - missing)).to(self.dtype)

    @cached_property
    def _mean(self) -> Tensor:
        return self._feasible(self.loc, self._residual)

    @cached_property
    def _variance(self) -> Tensor:
        own = self.spread - 2 * self.spread * self.metric * self.gram.leverage()
        through = self.metric**2 * self.gram.leverage_through(self.rows.gram(self.spread))
        return (own + through).clamp(min=0)

    def _feasible(self, z: Tensor, residual: Tensor) -> Tensor:
        """z - K (A z - k), twice: see `ConstrainedGaussian`."""
        corrected = z - self.metric * self.rows.adjoint(self.gram.solve(residual))
        with torch.no_grad():
            rest = self.metric * self.rows.adjoint(
                self.gram.solve(self.constraint.independent_residual(corrected))
            )
        return corrected - rest

    def _terms(self, value: Tensor) -> tuple[Tensor, Tensor, LeverageGram]:
        """The free density a coordinate, e, and the factored G_B."""
        from_mean = value.double() - self.loc
        along = from_mean.square() / self.spread + self.spread.log() + LOG_TWO_PI
        fixed = self.rows.apply(self.metric * from_mean / self.spread)
        return along, fixed, self.rows.gram(self.metric**2 / self.spread)

r"""A Gaussian whose samples are made feasible by a linear correction.

A sample z of the free Gaussian N(m, D), D = diag(s), becomes

    z' = z + K (k - A z),    K = M A^T G_M^{-1},    G_M = A M A^T.

The diagonal metric M determines how much each coordinate changes:

- M = D conditions on A z = k (Li et al. 2025, https://arxiv.org/abs/2502.05416);
- M = I is the Euclidean projection;
- M = 1 on some pivot coordinates and 0 elsewhere solves for the pivots and keeps the others (completion). For
  equalities, this is the Constrained Layer of Stoian et al. (2024, https://arxiv.org/abs/2402.04823), which
  clips one variable after the other.

With H = A^T G_M^{-1} A, the moments are

    E z'_i    = m_i + (K (k - A m))_i
    Var z'_i  = s_i - 2 s_i M_i H_ii + M_i^2 (A^T G_M^{-1} G_D G_M^{-1} A)_ii.

The correction maps all z on a fibre y + K t to the same feasible y. The integral of the free density along
the fibre is the density on the feasible set: with r = y - m, Q = K^T D^{-1} K and c = K^T D^{-1} r,

    log p(y) = -1/2 [r^T D^{-1} r - c^T Q^{-1} c + log det D + log det Q
                     + log det(A A^T) + (n - rank) log 2 pi],

where c^T Q^{-1} c = e^T G_B^{-1} e and log det Q = log det G_B - 2 log det G_M, for B = M^2 / D and
e = A (M r / s). For sums over disjoint groups all of this costs O(n). With M = D the distribution is that of
`ConstrainedGaussian`.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from plumbline.distributions import LinearConstraint
from plumbline.distributions.feasible_gaussian import LOG_TWO_PI, FeasibleGaussian
from plumbline.linalg.checks import require_finite, require_variances
from plumbline.linalg.covariance import Diagonal
from plumbline.linalg.gram import DegenerateGaussianError, LeverageGram


class CorrectedGaussian(FeasibleGaussian):
    """The distribution of samples of N(mean, diag(variance)) after the correction, batched over *B.

    Args:
        mean: m, (*B, n).
        variance: s, (*B, n), positive.
        constraint: A z = k, such as a `LinearEquality`.
        metric: M, (n,) or (*B, n), non-negative: how much each coordinate changes in the correction.
        validate_args: whether to check mean, variances, metric and feasibility; torch's default if None.

    Raises:
        ValueError: the mean is not finite, a variance is not positive, or an entry of the metric is negative.
        DegenerateGaussianError: the metric is zero or too small on the coordinates of an equality.
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
        """The log-density on the feasible set, in nats. Values must be feasible, which is not checked."""
        along, fixed, of_fibre = self._terms(value)
        rows = self.rows.unit_gram.logdet() + of_fibre.logdet() - 2 * self.gram.logdet()
        missing = (fixed * of_fibre.solve(fixed)).sum(-1) + self._residual.shape[-1] * LOG_TWO_PI
        return (-0.5 * (along.sum(-1) + rows - missing)).to(self.dtype)

    def log_prob_by_row(self, value: Float[Tensor, "*C n"]) -> Float[Tensor, "*C m"]:
        """The log-density of each group of coordinates, in nats, for an A of sums over disjoint groups.

        Raises:
            TypeError: A does not consist of sums over disjoint groups.
        """
        if not hasattr(self.rows, "sums"):
            raise TypeError("only sums over disjoint groups have a density per row.")
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
        """The corrected sample z - K (A z - k), corrected twice as in `ConstrainedGaussian`."""
        corrected = z - self.metric * self.rows.adjoint(self.gram.solve(residual))
        with torch.no_grad():
            rest = self.metric * self.rows.adjoint(
                self.gram.solve(self.constraint.independent_residual(corrected))
            )
        return corrected - rest

    def _terms(self, value: Tensor) -> tuple[Tensor, Tensor, LeverageGram]:
        """-2 times the free log-density per coordinate (*C, n), e (*C, r), and the factored G_B."""
        from_mean = value.double() - self.loc
        along = from_mean.square() / self.spread + self.spread.log() + LOG_TWO_PI
        fixed = self.rows.apply(self.metric * from_mean / self.spread)
        return along, fixed, self.rows.gram(self.metric**2 / self.spread)

r"""The Gaussian N(m, S) given A z = k: sampling, marginals, likelihood, divergence, expected losses.

With G = A S A^T and K = S A^T G^{-1} (Li, Sahu, Van den Broeck, Zeng 2025, https://arxiv.org/abs/2502.05416;
numbers of propositions in brackets):

- distribution [8.1]: N(m + K (k - A m), S - K A S), of rank n - r for r independent rows;
- sampling: a sample z of the free Gaussian N(m, S) becomes z + K (k - A z); exact and differentiable;
- marginals [4.1]: z_i ~ N(m'_i, v_i), with the mean above and the diagonal of the covariance;
- density with respect to the (n - r)-dimensional volume of the feasible set:
  log N(y; m, S) - log N(k; A m, G) - 1/2 log det(A A^T);
- expected losses [5.1], with d = m' - b:
  E|z - b|   = sqrt(2 v / pi) exp(-d^2 / 2 v) + d erf(d / sqrt(2 v)),    E(z - b)^2 = d^2 + v.

If S = s I, the corrected sample z + K (k - A z) is the Euclidean projection of z: conditioning differs from
projection only if variances differ. Arithmetic is in double precision; results have the dtype of the mean.
"""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, register_kl

from plumbline.distributions import LinearConstraint
from plumbline.distributions.feasible_gaussian import LOG_TWO_PI, FeasibleGaussian
from plumbline.linalg.checks import require_finite
from plumbline.linalg.conditioning import ConditionedCovariance, conditioned_covariance
from plumbline.linalg.covariance import Covariance, as_covariance
from plumbline.linalg.gram import DegenerateGaussianError, common_batch


class ConstrainedGaussian(FeasibleGaussian):
    """N(mean, covariance) given a linear equality, batched over *B and differentiable in mean and covariance.

    Coordinates of zero variance stay at their mean. If the equality has a single solution, all samples are
    that point and the variances are zero.

    Args:
        mean: m, (*B, n).
        covariance: S: a number (scaled identity), (n,) or (*B, n) (diagonal), (n, n) (dense), or a
            `Covariance`.
        constraint: A z = k, such as a `LinearEquality`, with one k for all or one k per batch entry.
        validate_args: whether to check mean, variances and feasibility, here and in `log_prob`; torch's
            default if None.

    Raises:
        ValueError: shapes do not fit, the mean is not finite, or the covariance is not a covariance.
        DegenerateGaussianError: the variances are too small to satisfy the equality.

    Example:
        >>> import torch
        >>> from plumbline.constraints import LinearEquality
        >>> from plumbline.distributions import ConstrainedGaussian
        >>> total = LinearEquality(torch.ones(1, 2), torch.tensor([1.0]))
        >>> gaussian = ConstrainedGaussian(torch.zeros(2), torch.tensor([1.0, 3.0]), total)
        >>> gaussian.mean
        tensor([0.2500, 0.7500])
        >>> bool((gaussian.sample((100,)).sum(-1) - 1).abs().max() < 1e-6)
        True
    """

    def __init__(
        self,
        mean: Float[Tensor, "*B n"],
        covariance: Covariance | Tensor,
        constraint: LinearConstraint,
        validate_args: bool | None = None,
    ) -> None:
        checked = Distribution._validate_args if validate_args is None else validate_args
        if checked:
            require_finite(mean, "the mean of a Gaussian")
        self.loc = mean.double()
        self.dtype = mean.dtype
        self.covariance = as_covariance(self.loc, covariance, validate_args=checked).double()
        self.constraint = constraint
        self._residual = constraint.independent_residual(self.loc)
        self.conditioned: ConditionedCovariance = conditioned_covariance(
            self.covariance, constraint.independent.to(self.loc)
        )
        batch = common_batch(mean.shape[:-1], self.covariance.batch_shape, self._residual.shape[:-1])
        super().__init__(batch, mean.shape[-1:], validate_args=validate_args)
        if checked:
            self.require_feasible_mean()

    def require_feasible_mean(self, unless: Tensor | None = None) -> None:
        """Checks that the conditional mean satisfies the equality.

        Args:
            unless: a condition () under which the mean is not checked; None for no such condition.

        Raises:
            DegenerateGaussianError: it does not, because the variances are too small.
        """
        self._require_feasible(self._mean, DegenerateGaussianError, "the mean given A z = k", unless)

    @property
    def covariance_matrix(self) -> Float[Tensor, "*B n n"]:
        """The dense conditional covariance, for small n."""
        return self.conditioned.dense().to(self.dtype)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*C n"]:
        """Exact, differentiable samples, feasible to the rounding of their dtype."""
        return self.draw_pair(sample_shape)[1]

    def draw_pair(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Samples (*C, n) of the free Gaussian, and the exact samples (*C, n) obtained by correcting them."""
        free = self._free_draw(sample_shape)
        feasible = self._feasible(free, self.constraint.independent_residual(free))
        return free.to(self.dtype), feasible.to(self.dtype)

    def projected(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*C n"]:
        """Samples of the free Gaussian, projected onto the feasible set; exact only if S = s I."""
        free = self._free_draw(sample_shape)
        rows = self.conditioned.linear_map
        for _ in range(2):  # the second projection removes the rounding error of the first, see `_feasible`
            free = free - rows.adjoint(rows.unit_gram.solve(self.constraint.independent_residual(free)))
        return free.to(self.dtype)

    def log_prob(self, value: Float[Tensor, "*C n"]) -> Float[Tensor, "*C"]:
        """The log-density on the feasible set, in nats.

        Raises:
            ValueError: with `validate_args`, a value is not feasible.
            DegenerateGaussianError: with `validate_args`, a coordinate has zero variance, so there is no
                density.
        """
        value = value.double()
        if self._validate_args:
            self._require_feasible(value, ValueError, "the value")
            if not bool((self.covariance.diagonal() > 0).all()):
                raise DegenerateGaussianError("a coordinate of zero variance has no density.")
        from_mean = value - self.loc
        free = (from_mean * self.covariance.inverse(from_mean)).sum(-1)
        return (-0.5 * free - self._log_normaliser()).to(self.dtype)

    def entropy(self) -> Float[Tensor, "*B"]:
        """The differential entropy on the feasible set, in nats."""
        return (self._log_volume + 0.5 * self._freedom).expand(self.batch_shape).to(self.dtype)

    @cached_property
    def _mean(self) -> Tensor:
        return self._feasible(self.loc, self._residual).expand(*self.batch_shape, -1)

    @cached_property
    def _variance(self) -> Tensor:
        return self.conditioned.diagonal().expand(*self.batch_shape, -1)

    def _free_draw(self, sample_shape: torch.Size | tuple[int, ...]) -> Tensor:
        return self.loc + self.covariance.draw(self._extended_shape(torch.Size(sample_shape)))

    def _feasible(self, z: Tensor, residual: Tensor) -> Tensor:
        """The corrected sample z - K (A z - k)."""
        corrected = z - self.conditioned.gain(residual)
        # If the rows of A differ in scale, the large ones leave rounding errors in the small ones. The
        # residual is computed row by row, without that error, so one more correction is enough. It has no
        # derivative.
        with torch.no_grad():
            rest = self.conditioned.gain(self.constraint.independent_residual(corrected))
        return corrected - rest

    def _log_normaliser(self) -> Tensor:
        """The log-normaliser: log p(y) = -1/2 (y - m)^T S^{-1} (y - m) minus this."""
        fixed = (self._residual * self.conditioned.gram.solve(self._residual)).sum(-1)
        return self._log_volume - 0.5 * fixed

    @property
    def _freedom(self) -> int:
        """The dimension n - r of the feasible set."""
        return self.event_shape[0] - self._residual.shape[-1]

    @cached_property
    def _log_volume(self) -> Tensor:
        """1/2 log det(2 pi C), with the conditional covariance C restricted to the feasible set."""
        unit = self.conditioned.linear_map.unit_gram
        logdet = self.covariance.logdet() - self.conditioned.gram.logdet() + unit.logdet()
        return 0.5 * (logdet + self._freedom * LOG_TWO_PI)


@register_kl(ConstrainedGaussian, ConstrainedGaussian)
def _kl(q: ConstrainedGaussian, p: ConstrainedGaussian) -> Float[Tensor, "*B"]:
    r"""KL(q || p) of two Gaussians on the same feasible set.

    It is E_q[log N(z; q) - log N(z; p)] - [log N(k; A m_q, G_q) - log N(k; A m_p, G_p)]; the term det(A A^T)
    cancels. The expectation under q of a quadratic form with S^{-1} is its value at the mean of q plus
    tr(S^{-1} Cov_q).
    """
    from_mean = q._mean - p.loc
    mahalanobis = (from_mean * p.covariance.inverse(from_mean)).sum(-1)
    expected = mahalanobis + p.covariance.trace_of_inverse_times(q.conditioned)
    return (p._log_normaliser() + 0.5 * expected).expand(q.batch_shape).to(q.dtype) - q.entropy()

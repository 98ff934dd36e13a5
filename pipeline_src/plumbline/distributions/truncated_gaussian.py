r"""A correlated Gaussian between bounds: its moments and the probability of the bounds, approximately.

For y ~ N(m, S) in m dimensions given l <= y <= u, expectation propagation replaces the indicator of each
interval by an unnormalised Gaussian factor with precision tau_j and precision times mean nu_j. One factor at
a time is set so that mean and variance of y_j are those of the cavity distribution (all other factors)
truncated to [l_j, u_j]. With Sigma = (S^{-1} + T)^{-1}, T = diag(tau), the cavity has

    v_j = 1 / (1 / Sigma_jj - tau_j),    c_j = v_j (mu_j / Sigma_jj - nu_j),

and the truncated cavity has mean e_j, variance w_j and probability Z_j, so that

    tau_j = 1 / w_j - 1 / v_j,    nu_j = e_j / w_j - c_j / v_j.

For a single interval this is exact. With a = nu - T m and cavity means relative to m,

    log Z = sum_j [log Z_j + log(1 + tau_j v_j) / 2
                   + (tau_j c_j^2 - 2 a_j c_j - a_j^2 v_j) / (2 (1 + tau_j v_j))]
            + a^T Sigma a / 2 - log det(I + T^{1/2} S T^{1/2}) / 2.

No inverse of S is needed, so that S may be singular. Neither is one needed for the moments of any x that is
jointly Gaussian with y: E[x | bounds] = E x + Cov(x, y) w, with the weights w = a - T (mu - m), and
Cov[x | bounds] = Cov x - Cov(x, y) M Cov(y, x), with M = (S + T^{-1})^{-1}.

Sources: Cunningham, Hennig, Lacoste-Julien 2011, https://arxiv.org/abs/1111.6832; Rasmussen and Williams
2006, sections 3.6 and 3.9, https://gaussianprocess.org/gpml.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.distributions.truncated_normal import truncated_moments

# Largest number of sweeps over the factors, and the change of the means at which they stop, in standard
# deviations.
SWEEPS, SETTLED = 30, 1e-8
# Least variance of a truncated cavity, as a fraction of that of the cavity. It is reached in a tail of more
# than 10^4 standard deviations and between equal bounds. Larger precisions would be lost in rounding.
NARROWEST = 1e-8


@dataclass(frozen=True)
class TruncatedGaussian:
    """Approximate moments of N(m, S) between bounds.

    Attributes:
        mean: E[y | bounds].
        covariance: Cov[y | bounds].
        weights: w, for the mean of other variables: E[x | bounds] = E x + Cov(x, y) w.
        reduction: M, for their covariance: Cov[x | bounds] = Cov x - Cov(x, y) M Cov(y, x).
        log_probability: log P(l <= y <= u).
    """

    mean: Float[Tensor, "B m"]
    covariance: Float[Tensor, "B m m"]
    weights: Float[Tensor, "B m"]
    reduction: Float[Tensor, "B m m"]
    log_probability: Float[Tensor, " B"]


def truncated_gaussian(
    mean: Float[Tensor, "B m"],
    covariance: Float[Tensor, "*#B m m"],
    lower: Float[Tensor, "*#B m"],
    upper: Float[Tensor, "*#B m"],
) -> TruncatedGaussian:
    """The moments of N(mean, covariance) given lower <= y <= upper, in double precision.

    Args:
        mean: m.
        covariance: S, for all means or one for each; may be singular, with positive variances.
        lower: l, may be minus infinity.
        upper: u, at least l, may be infinity.

    Example:
        >>> import torch
        >>> s = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
        >>> found = truncated_gaussian(torch.zeros(1, 2), s, torch.zeros(2), torch.full((2,), torch.inf))
        >>> print(f"{float(found.log_probability.exp()):.3f}")  # exact: 1/3
        0.333
    """
    m, start = mean.double(), covariance.double().expand(len(mean), -1, -1)
    lower, upper = (bound.double().expand(m.shape) for bound in (lower, upper))
    mu, sigma = m.clone(), start.clone()
    tau, nu = torch.zeros_like(m), torch.zeros_like(m)
    own_variance = start.diagonal(dim1=1, dim2=2)
    rows = m.shape[1]
    for _ in range(SWEEPS if rows > 1 else 1):
        before = mu
        for j in range(rows):
            variance = sigma[:, j, j]
            cavity_variance = _without(tau[:, j], variance, own_variance[:, j])
            cavity_mean = cavity_variance * (mu[:, j] / variance - nu[:, j])
            wanted, spread = truncated_moments(cavity_mean, cavity_variance, lower[:, j], upper[:, j])
            # Between bounds that are equal, the spread is zero and the precision is limited by rounding.
            spread = torch.maximum(spread, NARROWEST * cavity_variance)
            new_tau = (1 / spread - 1 / cavity_variance).clamp(min=0)
            new_nu = wanted * new_tau + (wanted - cavity_mean) / cavity_variance
            change, shift = new_tau - tau[:, j], new_nu - nu[:, j]
            column, size = sigma[:, :, j], 1 + change * variance
            mu = mu + column * ((shift - change * mu[:, j]) / size)[:, None]
            mu[:, j] = wanted
            sigma = sigma - (change / size)[:, None, None] * column[:, :, None] * column[:, None, :]
            # The same without the difference of nearly equal numbers.
            sigma[:, j, :] = sigma[:, :, j] = column / size[:, None]
            tau[:, j], nu[:, j] = new_tau, new_nu
        if bool(((mu - before).abs() <= SETTLED * own_variance.sqrt()).all()):
            break
    variance = sigma.diagonal(dim1=1, dim2=2)
    cavity_variance = _without(tau, variance, own_variance)
    cavity_mean = cavity_variance * (mu / variance - nu)
    own = log_interval_probability(cavity_mean, cavity_variance, lower, upper)
    a, c, v = nu - tau * m, cavity_mean - m, cavity_variance
    size = 1 + tau * v
    terms = own + size.log() / 2 + (tau * c**2 - 2 * a * c - a**2 * v) / (2 * size)
    root = tau.sqrt()
    inner = torch.eye(rows).to(m) + root[:, :, None] * start * root[:, None, :]
    factor = torch.linalg.cholesky(inner)
    whitened = torch.linalg.solve_triangular(factor, torch.diag_embed(root), upper=False)
    log_probability = (
        terms.sum(1)
        + (a * (sigma @ a[..., None]).squeeze(-1)).sum(1) / 2
        - factor.diagonal(dim1=1, dim2=2).log().sum(1)
    )
    return TruncatedGaussian(mu, sigma, a - tau * (mu - m), whitened.mT @ whitened, log_probability)


def _without(
    tau: Float[Tensor, "*B"], variance: Float[Tensor, "*B"], own: Float[Tensor, "*B"]
) -> Float[Tensor, "*B"]:
    """The variance v_j without the factor j, which is at most that of the Gaussian, whatever the rounding."""
    return 1 / torch.maximum(1 / variance - tau, 1 / own)


def log_interval_probability(
    mean: Float[Tensor, "*B"], variance: Float[Tensor, "*B"], lower: Float[Tensor, "*B"], upper: Tensor
) -> Float[Tensor, "*B"]:
    """log P(lower <= y <= upper) for y ~ N(mean, variance), accurate in the tails."""
    std = variance.sqrt()
    first, last = (lower - mean) / std, (upper - mean) / std
    # Reflect intervals above the mean, since log Phi keeps its digits in the lower tail.
    above = first > 0
    first, last = torch.where(above, -last, first), torch.where(above, -first, last)
    high, low = torch.special.log_ndtr(last), torch.special.log_ndtr(first)
    return high + torch.log1p(-torch.exp(low - high).clamp(max=1 - 1e-16))

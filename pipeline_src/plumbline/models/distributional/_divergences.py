r"""Divergences and cross-entropies of distributions, estimated from their denoisers.

**The Kullback-Leibler divergence.** With x_rho = x + rho e, x drawn from q, and the posterior means m_q and
m_p of x given x_rho under either distribution,

    KL(q_s || p_s) = int_s^inf rho^-3 E |m_q(x_rho) - m_p(x_rho)|^2 d rho
                   = int_s^inf rho^-3 E [ |x - m_p(x_rho)|^2 - |x - m_q(x_rho)|^2 ] d rho

for the distributions under noise of standard deviation s (Guo, Shamai, Verdu 2005; Song et al., NeurIPS 2021,
theorem 1, in the variance-exploding case). The second line is the excess of p's denoising loss over that of
q, which depends on the unknown entropy of q. With another denoiser for m_q it is the excess over that
denoiser. Both denoisers are evaluated on the same noisy samples, which reduces the variance of the
difference. rho is log-uniform, stratified, up to the largest ratio of the schedule.

**The cross-entropy** E_q[-log p] follows from samples of q and the denoiser of p alone. In the excess of p's
loss over that of a third distribution r (`divergence`), the losses of q's own denoiser cancel:

    int_s^inf rho^-3 E_q [ |x - m_p(x_rho)|^2 - |x - m_r(x_rho)|^2 ] d rho = E_q[ log r_s - log p_s ].

With the standard Gaussian as r, m_r(x_rho) = x_rho / (1 + rho^2), and E[-log r_s] of a point x under noise is
(n log 2 pi (1 + s^2) + (|x|^2 + n s^2) / (1 + s^2)) / 2 in n dimensions; neither needs q.

**The optimal multipliers for disjoint sets** have a closed form. The model that minimises the Lagrangian
KL(q || p) + sum_i lambda_i KL(q_i || p) is the mixture (q + sum_i lambda_i q_i) / (1 + L) with
L = sum_i lambda_i. If the sets are disjoint parts of the data with fractions pi_i, their fractions in the
mixture are

    w_i = (pi_i + lambda_i) / (1 + L),    KL(q_i || p) = -log w_i,

so the threshold b_i requires w_i >= exp(-b_i). With the set A of active constraints,

    L = (sum_A exp(-b_i) - sum_A pi_i) / (1 - sum_A exp(-b_i)),    lambda_i = exp(-b_i) (1 + L) - pi_i.

A is found by adding violated constraints until none is left: each active constraint lowers the fractions of
the other sets.

Sources: https://doi.org/10.1109/TIT.2005.844072; https://arxiv.org/abs/2101.09258.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion._schedules import TrainedSchedule
from plumbline.models.distributional._multipliers import InfeasibleConstraintsError, Multipliers

MeanOf = Callable[[Tensor, Tensor], Tensor]
"""A function from (x_t, t) to the posterior mean of x."""


def largest_ratio(schedule: TrainedSchedule) -> float:
    """The largest noise-to-signal ratio of a schedule."""
    alpha, sigma = schedule(torch.ones((), dtype=torch.float64))
    return float(sigma / alpha)


def noisy_samples(
    schedule: TrainedSchedule, x: Float[Tensor, "B *S"], smoothing: float
) -> tuple[Float[Tensor, "B *S"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Noisy samples x_t, their times t, and weights of the squared errors.

    The mean of the weighted errors over samples is an estimate of the integral.
    """
    low, high = math.log(smoothing), math.log(largest_ratio(schedule))
    offsets = torch.rand(len(x), device=x.device, dtype=x.dtype)
    fractions = (torch.randperm(len(x), device=x.device) + offsets) / len(x)
    ratio = (low + (high - low) * fractions).exp()
    t = schedule.time_of(ratio).clamp(0, 1)
    alpha, sigma = schedule(t)
    along = (-1, *(1,) * (x.ndim - 1))
    x_t = alpha.view(along) * x + sigma.view(along) * torch.randn_like(x)
    return x_t, t, (high - low) / ratio.square()


def excess(
    x: Float[Tensor, "B *S"], mean: Float[Tensor, "B *S"], oracle: Float[Tensor, "B *S"]
) -> Float[Tensor, " B"]:
    """|x - mean|^2 - |x - oracle|^2, computed as a product to avoid cancellation."""
    return ((oracle - mean) * (2 * x - mean - oracle)).flatten(1).sum(1)


def divergence(
    schedule: TrainedSchedule, x: Float[Tensor, "B *S"], mean: MeanOf, oracle: MeanOf, smoothing: float
) -> Float[Tensor, " B"]:
    """One estimate of KL(q_s || p_s) in nats per sample x of q; their mean estimates the divergence.

    Source: Song et al. (NeurIPS 2021), theorem 1, https://arxiv.org/abs/2101.09258.

    Args:
        schedule: the noise schedule of both denoisers.
        x: samples of q.
        mean: the posterior mean under p.
        oracle: the posterior mean under q.
        smoothing: s, the standard deviation of the noise on both distributions.
    """
    x_t, t, weights = noisy_samples(schedule, x, smoothing)
    return weights * excess(x, mean(x_t, t), oracle(x_t, t))


def gaussian_mean(
    schedule: TrainedSchedule, x_t: Float[Tensor, "B *S"], t: Float[Tensor, " B"]
) -> Float[Tensor, "B *S"]:
    """The posterior mean of a standard Gaussian x, given x_t = alpha_t x + sigma_t e."""
    alpha, sigma = (c.view(-1, *(1,) * (x_t.ndim - 1)) for c in schedule(t))
    return alpha * x_t / (alpha.square() + sigma.square())


class StandardGaussian(nn.Module):
    """The standard Gaussian in any space, used in place of a model of a set."""

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """No keyword arguments."""
        return {}

    def mean(
        self, space: Standardisation, schedule: TrainedSchedule, x_t: Float[Tensor, "B *S"], t: Tensor
    ) -> Float[Tensor, "B *S"]:
        """The posterior mean, with the interface of `SharedSpace`."""
        return gaussian_mean(schedule, x_t, t)


def gaussian_cross_entropy(x: Float[Tensor, "B *S"], smoothing: float) -> Float[Tensor, " B"]:
    """The mean of -log r_s over noise of standard deviation s on each sample x, in nats."""
    squares = x.flatten(1).square()
    variance = 1 + smoothing**2
    return 0.5 * (math.log(2 * math.pi * variance) + (squares + smoothing**2) / variance).sum(1)


class DisjointMultipliers(Multipliers):
    """The optimal multipliers for disjoint sets, in closed form."""

    def fit(self, fractions: Float[Tensor, " m"], thresholds: Float[Tensor, " m"]) -> None:
        """Computes the multipliers from the fractions of the sets in the data and the thresholds."""
        self.values.copy_(disjoint_multipliers(fractions, thresholds))


def disjoint_multipliers(
    fractions: Float[Tensor, " m"], thresholds: Float[Tensor, " m"]
) -> Float[Tensor, " m"]:
    """lambda (m,) for disjoint sets with these fractions in the data, under thresholds in nats.

    Raises:
        InfeasibleConstraintsError: the required fractions sum to one or more.
    """
    required = torch.exp(-thresholds)
    active = required > fractions
    while True:
        needed = (required * active).sum()
        if needed >= 1:
            raise InfeasibleConstraintsError(
                f"the thresholds {[round(float(b), 4) for b in thresholds]} together require a fraction of "
                f"{float(needed):.3g} of the samples, which must be less than 1: raise them."
            )
        total = (needed - (fractions * active).sum()) / (1 - needed)
        violated = required > fractions / (1 + total)
        if bool((violated & ~active).any()):
            active = active | violated
            continue
        return torch.where(active, required * (1 + total) - fractions, 0.0)

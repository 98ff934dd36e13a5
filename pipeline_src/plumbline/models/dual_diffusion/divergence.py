r"""The Kullback-Leibler divergence of two distributions, from their denoisers.

With x_rho = x + rho e, x drawn from q, and the posterior means m_q and m_p of x given x_rho under either distribution,

    KL(q_s || p_s) = int_s^inf rho^-3 E |m_q(x_rho) - m_p(x_rho)|^2 d rho
                   = int_s^inf rho^-3 E [ |x - m_p(x_rho)|^2 - |x - m_q(x_rho)|^2 ] d rho

for the distributions under noise of the standard deviation s (Guo, Shamai, Verdu 2005; Song et al., NeurIPS 2021, theorem 1,
with the variance exploding). The second line is the excess of p's loss over that of q, whose own loss is the entropy that no one
knows. It holds for any m_q, as the excess over that denoiser; both are asked about the same noisy samples, which takes what
they have in common out of the variance. rho is log-uniform up to the largest that the schedule knows, stratified.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.models.diffusion.schedules import TrainedSchedule

MeanOf = Callable[[Tensor, Tensor], Tensor]
"""From (x_t, t) to the posterior mean of x."""


def largest_ratio(schedule: TrainedSchedule) -> float:
    """The largest ratio of noise to signal that a schedule reaches."""
    alpha, sigma = schedule(torch.ones((), dtype=torch.float64))
    return float(sigma / alpha)


def noisy_samples(
    schedule: TrainedSchedule, x: Float[Tensor, "B *S"], smoothing: float
) -> tuple[Float[Tensor, "B *S"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """x_t, t, and the weights of the squared errors there in the integral: its mean over samples is an estimate."""
    low, high = math.log(smoothing), math.log(largest_ratio(schedule))
    offsets = torch.rand(len(x), device=x.device, dtype=x.dtype)
    shares = (torch.randperm(len(x), device=x.device) + offsets) / len(x)
    ratio = (low + (high - low) * shares).exp()
    t = schedule.time_of(ratio).clamp(0, 1)
    alpha, sigma = schedule(t)
    along = (-1, *(1,) * (x.ndim - 1))
    x_t = alpha.view(along) * x + sigma.view(along) * torch.randn_like(x)
    return x_t, t, (high - low) / ratio.square()


def excess(
    x: Float[Tensor, "B *S"], mean: Float[Tensor, "B *S"], oracle: Float[Tensor, "B *S"]
) -> Float[Tensor, " B"]:
    """|x - mean|^2 - |x - oracle|^2, as a product, which loses no digits."""
    return ((oracle - mean) * (2 * x - mean - oracle)).flatten(1).sum(1)


def divergence(
    schedule: TrainedSchedule, x: Float[Tensor, "B *S"], mean: MeanOf, oracle: MeanOf, smoothing: float
) -> Float[Tensor, " B"]:
    """An estimate of KL(q_s || p_s) a sample x of q, whose mean is that of the divergence, in nats.

    Args:
        schedule: the noise schedule of both denoisers.
        x: samples of q.
        mean: the posterior mean under p.
        oracle: the posterior mean under q.
        smoothing: s, the standard deviation of the noise on both distributions.
    """
    x_t, t, weights = noisy_samples(schedule, x, smoothing)
    return weights * excess(x, mean(x_t, t), oracle(x_t, t))

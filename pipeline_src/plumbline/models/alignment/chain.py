r"""Ancestral sampling as a chain of Gaussian transitions, and the divergence between two chains.

With u_t = x_t / alpha_t and the ratio of noise to signal rho_t, a step from t to s < t of the denoiser m is

    u_s = (1 - tau) u_t + tau m(u_t) + rho_s tau^(1/2) e,     tau = 1 - rho_s^2 / rho_t^2

(Ho, Jain, Abbeel 2020, eq. 7). Chains of two denoisers have transitions of equal variance, so that

    KL(p(u_s | u_t) || q(u_s | u_t)) = tau |m_p - m_q|^2 / (2 rho_s^2) = (rho_s^-2 - rho_t^-2) |m_p - m_q|^2 / 2,

and the divergence of the chains is its sum along the chain of p (Khalafi et al. 2025, lemma 1): a bound on the divergence of
what they end at.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.models.diffusion.schedules import TrainedSchedule


def ratios(schedule: TrainedSchedule, steps: int, device: torch.device) -> Float[Tensor, "T"]:
    """The ratios of noise to signal at equal steps of time, from the largest to the least."""
    alpha, sigma = schedule(torch.linspace(1, 0, steps + 1, device=device))
    return sigma / alpha


def clean_means(
    denoiser: Any, u: Float[Tensor, "B *S"], ratio: Float[Tensor, ""], conditions: dict[str, Tensor]
) -> Float[Tensor, "B *S"]:
    """m(u): the posterior mean of x given x_t = alpha_t u."""
    t = denoiser.schedule.time_of(ratio).clamp(0, 1)
    alpha, _ = denoiser.schedule(t)
    return denoiser(alpha * u, t, **conditions).mean


def stepped(
    u: Float[Tensor, "B *S"], mean: Float[Tensor, "B *S"], ratio: Float[Tensor, ""], after: Float[Tensor, ""]
) -> Float[Tensor, "B *S"]:
    """A transition from the ratio `ratio` to `after`, with its noise."""
    share = 1 - (after / ratio).square()
    return (1 - share) * u + share * mean + after * share.sqrt() * torch.randn_like(u)


def step_divergence(
    mean: Float[Tensor, "B *S"],
    other: Float[Tensor, "B *S"],
    ratio: Float[Tensor, ""],
    after: Float[Tensor, ""],
) -> Float[Tensor, " B"]:
    """The divergence, in nats, of two transitions from one point that differ in the denoiser's mean."""
    return 0.5 * (after**-2 - ratio**-2) * (mean - other).square().flatten(1).sum(1)

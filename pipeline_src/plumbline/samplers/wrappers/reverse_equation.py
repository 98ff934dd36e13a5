"""Steps of the reverse stochastic equation of any differentiable schedule."""

from __future__ import annotations

from typing import Any

import torch
from azula.denoise import Denoiser
from azula.noise import Schedule
from azula.sample import Sampler
from torch import Tensor


class EulerMaruyamaSampler(Sampler):
    """See `plumbline.samplers.euler_maruyama`."""

    def __init__(self, denoiser: Denoiser, **options: Any) -> None:
        super().__init__(**options)
        self.denoiser = denoiser

    @property
    def timesteps(self) -> Tensor:
        """Times that are evaluated, the first of all and the last included, and the one that the last step goes to."""
        times = torch.linspace(self.start, self.stop, self.steps, dtype=self.dtype, device=self.device)
        return torch.cat([times, times[-1:] - (times[0] - times[1])])

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Any) -> Tensor:
        """One step from time t to s, of the shape of `x_t` (B, ...)."""
        alpha, sigma = self.denoiser.schedule(t)
        drift, diffusion = coefficients(self.denoiser.schedule, t)
        score = (alpha * self.denoiser(x_t, t, **conditions).mean - x_t) / sigma**2
        x_s = x_t - (t - s) * (drift * x_t - diffusion * score)
        if s >= self.stop:
            x_s = x_s + torch.sqrt(diffusion * (t - s)) * torch.randn_like(x_t)
        return x_s


def coefficients(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """f and g^2 of the noising equation at a time (), by differentiation of the schedule."""
    now, slopes = torch.func.jvp(schedule, (t,), (torch.ones_like(t),))[:2]
    (alpha, sigma), (alpha_slope, sigma_slope) = now, slopes
    drift = alpha_slope / alpha
    return drift, 2 * sigma * (sigma_slope - drift * sigma)

"""Annealed Langevin dynamics as an azula `Sampler`."""

from __future__ import annotations

from typing import Any

import torch
from azula.denoise import Denoiser
from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers.annealed_langevin import AnnealedLangevinSpec


class AnnealedLangevinSampler(Sampler):
    """See `plumbline.samplers.annealed_langevin`."""

    def __init__(self, denoiser: Denoiser, spec: AnnealedLangevinSpec) -> None:
        super().__init__(steps=spec.levels, silent=True)
        self.denoiser, self.spec = denoiser, spec

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Any) -> Tensor:
        """To the level of the time s, and all steps there; of the shape of `x_t` (B, ...)."""
        alpha, sigma = self.denoiser.schedule(t)
        before, u = sigma / alpha, x_t / alpha
        mean = self.denoiser(x_t, t, **conditions).mean
        alpha, sigma = self.denoiser.schedule(s)
        c, ratio = self.spec.step_size, sigma / alpha
        u = mean + ratio / before * (u - mean)
        for _ in range(self.spec.steps):
            mean = self.denoiser(alpha * u, s, **conditions).mean
            u = u + c * (mean - u) + (2 * c) ** 0.5 * ratio * torch.randn_like(u)
        return alpha * u

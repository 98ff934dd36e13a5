"""Ancestral sampling whose steps move down the misfit to an observation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from azula.denoise import Denoiser
from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers import Problem

if TYPE_CHECKING:
    from plumbline.samplers.dps import DPSSpec


class PosteriorSampler(Sampler):
    """See `plumbline.samplers.dps`."""

    def __init__(self, denoiser: Denoiser, spec: DPSSpec, problem: Problem) -> None:
        super().__init__(steps=spec.steps, silent=True)
        self.denoiser, self.spec, self.problem = denoiser, spec, problem

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Any) -> Tensor:
        """One step from time t to s, of the shape of `x_t` (B, ...)."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.denoiser.schedule(t), self.denoiser.schedule(s)
        mean, descent = self._mean_and_descent(x_t, t, conditions)
        kept = (alpha_t / alpha_s * sigma_s / sigma_t) ** 2
        noise = (x_t - alpha_t * mean) / sigma_t
        ancestral = torch.sqrt(kept) * noise + torch.sqrt(1 - kept) * torch.randn_like(x_t)
        move = self.spec.scale * (alpha_t**2 + sigma_t**2) * descent
        return alpha_s * mean + sigma_s * ancestral - move

    def _mean_and_descent(self, x_t: Tensor, t: Tensor, conditions: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The denoised estimate, and the gradient of its misfit in x_t."""
        problem, spec = self.problem, self.spec
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            mean = self.denoiser(x_t, t, **conditions).mean
            x = problem.decode(mean)
            misfit = problem.observation.residual(x).norm(dim=1)
            if spec.constraint is not None:
                misfit = misfit + spec.constraint_weight * problem.constraints[spec.constraint].distance(x)
            (descent,) = torch.autograd.grad(misfit.sum(), x_t)
        problem.costs.backward_passes += 1
        return mean.detach(), descent

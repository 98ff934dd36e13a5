r"""Guidance by the gradient of the constraint distance of the denoised estimate.

Let m(x_t) = E[x | x_t] be the denoised estimate and l its distance to the constraint. By Tweedie's
formula the posterior covariance is V = (sigma_t^2 / alpha_t) dm/dx_t. Taking l as linear around m, the
mean of the posterior given l = 0 is

    m' = m - l V grad_m l / (grad_m l . V grad_m l).

As dm/dx_t is symmetric, V grad_m l is (sigma_t^2 / alpha_t) grad_{x_t} l(m(x_t)), one backward pass
through the network, and the noise scales cancel:

    m' = m - strength * l * grad_{x_t} l / (grad_m l . grad_{x_t} l).

This is diffusion posterior sampling (Chung et al., ICLR 2023) with the step length that the linearised
posterior asks for, so that `strength` needs no unit. The distance is a mean of absolute residuals, which
no single gradient step brings to zero; strengths well under one are the useful ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import ConstrainedSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

# A learned dm/dx_t is not quite symmetric: the curvature is kept above this share of its bound.
LEAST_ALIGNMENT = 0.05


class GuidedSpec(ConstrainedSpec):
    """Guidance: each denoised estimate moves down the gradient of its constraint distance."""

    kind: Literal["guided"] = "guided"
    strength: float = key(gt=0, le=2, default=0.2)
    """Share of the linearised correction that is taken at each evaluation."""

    def differentiates(self) -> bool:
        return True

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from plumbline.samplers.wrappers.corrected_denoiser import CorrectedDenoiser

        return self.denoising_base().build(
            CorrectedDenoiser(denoiser, self._corrected_mean, problem), problem
        )

    def _corrected_mean(self, denoiser, x_t, t, problem, **conditions):  # type: ignore[no-untyped-def]
        import torch

        constraint = problem.constraints[self.constraint]
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            mean = denoiser(x_t, t, **conditions).mean
            distance = constraint.distance(problem.decode(mean))
            by_mean, by_state = torch.autograd.grad(distance.sum(), (mean, x_t))
        problem.costs.backward_passes += 1
        by_mean, by_state = by_mean.flatten(1), by_state.flatten(1)
        bound = by_mean.norm(dim=1) * by_state.norm(dim=1)
        curvature = torch.maximum((by_mean * by_state).sum(1), LEAST_ALIGNMENT * bound)
        length = self.strength * distance.detach() / curvature.clamp(min=torch.finfo(x_t.dtype).tiny)
        return mean.detach() - (length[:, None] * by_state).view_as(mean)

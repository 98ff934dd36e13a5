r"""Guidance by the gradient of the constraint distance of the denoised estimate.

Let m(x_t) = E[x | x_t] be the denoised estimate and l its distance to the constraint. By Tweedie's
formula the posterior covariance is V = (sigma_t^2 / alpha_t) dm/dx_t. If l is linearised around m, the
posterior mean given l = 0 is

    m' = m - l V grad_m l / (grad_m l . V grad_m l).

As dm/dx_t is symmetric, V grad_m l is (sigma_t^2 / alpha_t) grad_{x_t} l(m(x_t)), which takes one backward
pass through the network, and the noise scales cancel:

    m' = m - strength * l * grad_{x_t} l / (grad_m l . grad_{x_t} l).

This is diffusion posterior sampling with the step length of the linearised posterior, so `strength` has no
unit. The distance is a mean of absolute residuals, which a single gradient step cannot bring to zero.
Strengths well below one work best.

Source: Chung et al. (ICLR 2023), https://arxiv.org/abs/2209.14687.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.samplers import ConstrainedSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext

# A learned dm/dx_t is not exactly symmetric: the curvature is kept above this fraction of its bound.
LEAST_ALIGNMENT = 0.05


class GuidedSpec(ConstrainedSpec):
    """Guidance: each denoised estimate moves down the gradient of its constraint distance.

    It is a form of DPS (Chung et al. 2023, https://arxiv.org/abs/2209.14687).
    """

    kind: Literal["guided"] = "guided"
    strength: float = key(gt=0, le=2, default=0.2)
    """Fraction of the linearised correction that is applied at each evaluation."""

    def differentiates(self) -> bool:
        return True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._denoising import CorrectedDenoiser

        correction = partial(guided_mean, constraint=self.constraint, strength=self.strength, context=context)
        return self.denoising_base().build(CorrectedDenoiser(denoiser, correction), context)


def guided_mean(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    *,
    constraint: str,
    strength: float,
    context: DenoisingContext,
    **conditions: object,
) -> Tensor:
    """Computes m' for the states x_t (B, ...) at time t."""
    import torch

    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        mean = denoiser(x_t, t, **conditions).mean
        distance = context.task.constraints[constraint].distance(context.decode(mean))
        by_mean, by_state = torch.autograd.grad(distance.sum(), (mean, x_t))
    context.costs.backward_passes += 1
    by_mean, by_state = by_mean.flatten(1), by_state.flatten(1)
    bound = by_mean.norm(dim=1) * by_state.norm(dim=1)
    curvature = torch.maximum((by_mean * by_state).sum(1), LEAST_ALIGNMENT * bound)
    length = strength * distance.detach() / curvature.clamp(min=torch.finfo(x_t.dtype).tiny)
    return mean.detach() - (length[:, None] * by_state).view_as(mean)

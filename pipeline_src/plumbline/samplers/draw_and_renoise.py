r"""Draw and renoise: draws from the denoiser's posterior are moved onto the constraint and noised again.

With x_t = alpha x + sigma e and the denoiser m = E[x | x_t], one step from time t to time s is

    z ~ N(m, V),    z <- the nearest feasible point of z,    x_s = alpha_s z + sigma_s e.

The posterior x | x_t is approximated by N(m, V) with V as in `conditioned`. A sampler that puts the *mean* m
on the constraint loses the spread of the posterior; a draw keeps it. For a linear equality A x = k, the point
z + V A^T (A V A^T)^{-1} (k - A z) is taken, an exact draw from N(m, V) given A x = k (Matheron's rule).

Noise is fresh in each step, so that errors of early steps are forgotten, and samples can cross between nearby
parts of the feasible set. Branches that are far apart are not weighed; `twisted_smc` weighs them.

Sources: predict, project, renoise (PPR), Rochman-Sharabi, Louppe 2026, https://arxiv.org/abs/2601.21033,
which projects the mean; split Gibbs sampling with diffusion models, Wu et al. (NeurIPS 2024),
https://arxiv.org/abs/2405.18782.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.constraints import GaussianConditioning, ProjectableConstraint
from plumbline.samplers import DenoisingSpec, EnforcingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext
    from plumbline.samplers._posterior import ConditionedPosterior


class DrawAndRenoiseSpec(EnforcingSpec, DenoisingSpec):
    """Draws from the denoiser's posterior, moves the draws onto the constraint, and adds noise again.

    It takes one network evaluation per step.
    """

    kind: Literal["draw_and_renoise"] = "draw_and_renoise"
    steps: int = key(ge=1, default=128)
    """Number of steps, at equal steps of the schedule's time."""
    covariance: Literal["data", "isotropic"] = key(default="data")
    """Approximation of the posterior covariance, as in `conditioned`."""

    def requires(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._posterior import ConditionedPosterior
        from plumbline.samplers._stepped import SteppedSampler

        posterior = ConditionedPosterior.of(self.constraint, context, self.covariance)
        return SteppedSampler(denoiser, partial(renoised_step, posterior=posterior), steps=self.steps)


def renoised_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    posterior: ConditionedPosterior,
    **conditions: object,
) -> Tensor:
    """Draws a feasible point and adds the noise of the next time.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step.
        posterior: draws feasible points.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    import torch

    mean = denoiser(x_t, t, **conditions).mean
    drawn = posterior.draw(mean, *denoiser.schedule(t))
    alpha, sigma = denoiser.schedule(s)
    return alpha * drawn + sigma * torch.randn_like(x_t)

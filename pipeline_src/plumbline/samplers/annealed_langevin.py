r"""Annealed Langevin dynamics, from the largest noise level to the smallest.

Let u = x_t / alpha_t, let rho be the noise-to-signal ratio, and let m be the denoiser, whose score is
(m(u) - u) / rho^2. At each level, a step along the probability flow goes to the next level (the predictor).
Steps of the unadjusted Langevin algorithm follow there (the corrector):

    u <- m(u) + (rho' / rho) (u - m(u)),        u <- u + c (m(u) - u) + (2 c)^(1/2) rho' e.

Ancestral sampling and the probability flow assume that the densities at all levels are noised versions of one
distribution. A product of experts violates this: the product of the noised experts is not the noised product.
Langevin dynamics needs the right density only at the last level, where no noise is left; the flow only
provides a start nearby.

Sources: Song, Ermon (NeurIPS 2019), https://arxiv.org/abs/1907.05600; predictor and corrector: Song et al.
(ICLR 2021), https://arxiv.org/abs/2011.13456; products of models: Du et al. (ICML 2023),
https://arxiv.org/abs/2302.11552.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class AnnealedLangevinSpec(DenoisingSpec):
    """Annealed Langevin dynamics (Song, Ermon 2019, https://arxiv.org/abs/1907.05600).

    It takes `levels` times (`steps` + 1) network evaluations.
    """

    kind: Literal["annealed_langevin"] = "annealed_langevin"
    levels: int = key(ge=2, default=40)
    """Number of noise levels, at equal steps of the schedule's time."""
    steps: int = key(ge=1, default=5)
    """Langevin steps per level."""
    step_size: float = key("squared noise levels", gt=0, lt=1, default=0.1)
    """c: fraction of the way to the denoised point covered by a step. A large c widens the distribution."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        step = partial(langevin_step, steps=self.steps, step_size=self.step_size)
        return SteppedSampler(denoiser, step, steps=self.levels)


def langevin_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    steps: int,
    step_size: float,
    **conditions: object,
) -> Tensor:
    """Follows the flow from time t to time s, then takes all Langevin steps there.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step.
        steps: number of Langevin steps.
        step_size: c.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    import torch

    alpha, sigma = denoiser.schedule(t)
    before, u = sigma / alpha, x_t / alpha
    mean = denoiser(x_t, t, **conditions).mean
    alpha, sigma = denoiser.schedule(s)
    c, ratio = step_size, sigma / alpha
    u = mean + ratio / before * (u - mean)
    for _ in range(steps):
        mean = denoiser(alpha * u, s, **conditions).mean
        u = u + c * (mean - u) + (2 * c) ** 0.5 * ratio * torch.randn_like(u)
    return alpha * u

r"""Annealed Langevin dynamics (Song, Ermon, NeurIPS 2019; Du et al., ICML 2023, for products of models).

From the largest noise level to the least, with u = x_t / alpha_t, the ratio of noise to signal rho and the denoiser m, whose
score is (m(u) - u) / rho^2: a step along the flow of probability to the next level, and there some steps of the unadjusted
Langevin algorithm (predictor and corrector of Song et al., ICLR 2021),

    u <- m(u) + (rho' / rho) (u - m(u)),        u <- u + c (m(u) - u) + (2 c)^(1/2) rho' e.

Ancestral sampling and the flow alone ask that the densities of all levels be those of one noised distribution. A product of
experts is not of that kind: the product of the noised experts is not the noised product. Langevin dynamics asks that of
none but the last level, where there is no noise any more; the flow only starts it nearby.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class AnnealedLangevinSpec(DenoisingSpec):
    """Langevin steps at falling noise levels. As many evaluations as levels, times one more than steps a level."""

    kind: Literal["annealed_langevin"] = "annealed_langevin"
    levels: int = key(ge=2, default=40)
    """Noise levels, at equal steps of the schedule's time."""
    steps: int = key(ge=1, default=5)
    """Langevin steps at each level."""
    step_size: float = key("squared noise levels", gt=0, lt=1, default=0.1)
    """c: the share of the way to the denoised point that a step goes. Large ones widen the distribution."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        step = partial(langevin_step, steps=self.steps, step_size=self.step_size)
        return SteppedSampler(denoiser, step, steps=self.levels)


def langevin_step(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, *, steps: int, step_size: float, **conditions: Any
) -> Tensor:
    """To the noise level of the time s along the flow, and all Langevin steps there; of the shape of `x_t` (B, ...)."""
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

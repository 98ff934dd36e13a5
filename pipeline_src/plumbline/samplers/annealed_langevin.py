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

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler


class AnnealedLangevinSpec(DenoisingSpec):
    """Langevin steps at falling noise levels. As many evaluations as levels, times one more than steps a level."""

    kind: Literal["annealed_langevin"] = "annealed_langevin"
    levels: int = key(ge=2, default=40)
    """Noise levels, at equal steps of the schedule's time."""
    steps: int = key(ge=1, default=5)
    """Langevin steps at each level."""
    step_size: float = key("squared noise levels", gt=0, lt=1, default=0.1)
    """c: the share of the way to the denoised point that a step goes. Large ones widen the distribution."""

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from plumbline.samplers.wrappers.langevin import AnnealedLangevinSampler

        return AnnealedLangevinSampler(denoiser, self)

"""Heun's second-order method with azula's sampler.

Source: Karras et al. (NeurIPS 2022), https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class HeunSpec(DenoisingSpec):
    """Heun's method for the probability-flow equation (Karras et al. 2022, https://arxiv.org/abs/2206.00364).

    It takes two network evaluations per step.
    """

    kind: Literal["heun"] = "heun"
    steps: int = key(ge=1, default=64)
    """Number of time steps."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula.sample import HeunSampler

        return HeunSampler(denoiser, steps=self.steps, silent=True)

    def is_deterministic(self) -> bool:
        return True

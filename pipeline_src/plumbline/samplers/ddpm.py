"""Ancestral sampling (DDPM) with azula's sampler.

Source: Ho, Jain, Abbeel (NeurIPS 2020), https://arxiv.org/abs/2006.11239.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class DDPMSpec(DenoisingSpec):
    """DDPM, ancestral sampling of the reverse diffusion (Ho, Jain, Abbeel 2020, https://arxiv.org/abs/2006.11239).

    It takes one network evaluation per step.
    """

    kind: Literal["ddpm"] = "ddpm"
    steps: int = key(ge=1, default=64)
    """Number of time steps."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula.sample import DDPMSampler

        return DDPMSampler(denoiser, steps=self.steps, silent=True)

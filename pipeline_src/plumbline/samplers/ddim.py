"""Implicit sampling (DDIM) with azula's sampler.

Source: Song, Meng, Ermon (ICLR 2021), https://arxiv.org/abs/2010.02502.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class DDIMSpec(DenoisingSpec):
    """DDIM, implicit sampling (Song, Meng, Ermon 2021, https://arxiv.org/abs/2010.02502).

    It takes one network evaluation per step.
    """

    kind: Literal["ddim"] = "ddim"
    steps: int = key(ge=1, default=64)
    """Number of time steps."""
    eta: float = key(ge=0, le=1, default=0.0)
    """Fraction of the ancestral noise: 0 is deterministic, 1 is DDPM."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula.sample import DDIMSampler

        return DDIMSampler(denoiser, eta=self.eta, steps=self.steps, silent=True)

    def is_deterministic(self) -> bool:
        return not self.eta

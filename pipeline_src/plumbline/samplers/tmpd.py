r"""Tweedie moment projected diffusion (TMPD) with azula's denoiser.

As `mmps`, with the published diagonal approximation of the covariance of the observation: A V A^T is replaced
by the row sums A V A^T 1. This is exact for one equality, and for several whose posterior
correlations vanish.

Source: Boys et al. (2023), https://arxiv.org/abs/2310.06721.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers._observing import ObservingSpec

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler

    from plumbline.samplers._denoising import DenoisingContext


class TMPDSpec(ObservingSpec):
    """TMPD: estimates given an observation (Boys et al. 2023, https://arxiv.org/abs/2310.06721).

    It takes two backward passes per network evaluation.
    """

    kind: Literal["tmpd"] = "tmpd"

    def differentiates(self) -> bool:
        return True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from azula.guidance.tmpd import TMPDenoiser

        from plumbline.samplers._azula_guidance import BackwardCounter

        y, forward = self.observation(context)
        guided = TMPDenoiser(BackwardCounter(denoiser, context.costs), y, forward, self.noise**2)
        return self.denoising_base().build(guided, context)

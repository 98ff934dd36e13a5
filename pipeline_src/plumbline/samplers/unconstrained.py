"""The plain samplers of azula: ancestral (DDPM), implicit (DDIM) and Heun's second-order method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler


class _Steps(DenoisingSpec):
    steps: int = key(ge=1, default=64)
    """Number of time steps."""


class DDPMSpec(_Steps):
    """Ancestral sampling of the reverse diffusion (Ho, Jain, Abbeel 2020). One evaluation a step."""

    kind: Literal["ddpm"] = "ddpm"

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from azula.sample import DDPMSampler

        return DDPMSampler(denoiser, steps=self.steps, silent=True)


class DDIMSpec(_Steps):
    """Implicit sampling (Song, Meng, Ermon 2021). One evaluation a step."""

    kind: Literal["ddim"] = "ddim"
    eta: float = key(ge=0, le=1, default=0.0)
    """Share of the ancestral noise: 0 is deterministic, 1 is DDPM."""

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from azula.sample import DDIMSampler

        return DDIMSampler(denoiser, eta=self.eta, steps=self.steps, silent=True)


class HeunSpec(_Steps):
    """Heun's method on the probability-flow equation (Karras et al. 2022). Two evaluations a step."""

    kind: Literal["heun"] = "heun"

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from azula.sample import HeunSampler

        return HeunSampler(denoiser, steps=self.steps, silent=True)

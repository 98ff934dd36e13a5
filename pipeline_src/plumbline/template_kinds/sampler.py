"""The sampler `example`: an Euler step of the probability-flow equation; replace the step by yours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class ExampleSpec(DenoisingSpec):
    """An Euler step of the probability-flow equation. One evaluation per step."""

    kind: Literal["example"] = "example"
    steps: int = key(ge=1, default=64)
    """Number of time steps."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        return SteppedSampler(denoiser, example_step, steps=self.steps)


def example_step(denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Tensor) -> Tensor:
    """The point (B, *S) at the time s, from that at the time t."""
    mean = denoiser(x_t, t, **conditions).mean
    (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(t), denoiser.schedule(s)
    return alpha_s * mean + sigma_s / sigma_t * (x_t - alpha_t * mean)

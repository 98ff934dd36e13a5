r"""Projected diffusion (Christopher, Baek, Fioretto, NeurIPS 2024): after every step the noisy state itself is projected.

A state at time s is alpha_s x plus noise; x_s / alpha_s is what is held against the constraint, so that the level set does not
shrink with the signal.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import EnforcingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class ProjectedSpec(EnforcingSpec):
    """Projected diffusion: the state is projected after every step."""

    kind: Literal["projected"] = "projected"
    noise_below: float | None = key("standard deviations of the model's space", gt=0, default=None)
    """Noise above which states are left alone, as where the nearest feasible point takes long to find; null for none."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        base = self.denoising_base().build(denoiser, context)
        limit = math.inf if self.noise_below is None else self.noise_below
        step = partial(
            projected_step, base=base, constraint=self.constraint, noise_below=limit, context=context
        )
        return SteppedSampler(base.denoiser, step, steps=base.steps, start=base.start, stop=base.stop)


def projected_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    base: Sampler,
    constraint: str,
    noise_below: float,
    context: DenoisingContext,
    **conditions: Any,
) -> Tensor:
    """A step of `base`, then the nearest feasible point; of the shape of `x_t` (B, ...). More noise than `noise_below` is left alone."""
    alpha_s, sigma_s = denoiser.schedule(s)
    x_s = base.step(x_t, t, s, **conditions)
    if float(sigma_s / alpha_s) > noise_below:
        return x_s
    context.costs.projection_solves += 1
    projected = context.task.projectable(constraint).project(context.decode(x_s / alpha_s))
    return alpha_s * context.space.encode(projected)

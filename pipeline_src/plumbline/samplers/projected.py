r"""Projected diffusion: the noisy state is projected onto the constraint after every step.

A state at time s is alpha_s x plus noise. The projection is applied to x_s / alpha_s, so that the feasible
set does not shrink with the signal.

Source: Christopher, Baek, Fioretto (NeurIPS 2024), https://arxiv.org/abs/2402.03559.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingWrapperSpec, EnforcingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class ProjectedSpec(EnforcingSpec, DenoisingWrapperSpec):
    """Projected diffusion (Christopher, Baek, Fioretto 2024, https://arxiv.org/abs/2402.03559).

    The state is projected after every step.
    """

    kind: Literal["projected"] = "projected"
    noise_below: float | None = key("standard deviations of the model's space", gt=0, default=None)
    """Noise-to-signal ratio above which states are not projected, such as where the projection is slow; null
    to project always."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler, require_single_steps

        base = self.denoising_base().build(denoiser, context)
        require_single_steps(base, self)
        limit = math.inf if self.noise_below is None else self.noise_below
        step = partial(
            projected_step, base=base, constraint=self.constraint, noise_below=limit, context=context
        )
        return SteppedSampler(
            base.denoiser,
            step,
            steps=base.steps,
            start=base.start,
            stop=base.stop,
            times=lambda _: base.timesteps,
            begin=base.begin if isinstance(base, SteppedSampler) else None,
        )


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
    **conditions: object,
) -> Tensor:
    """Takes a step of `base`, then projects the result.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step.
        base: the sampler that takes the step.
        constraint: name of the constraint.
        noise_below: noise-to-signal ratio above which the result is not projected.
        context: the task, the space of the model, and the costs.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    alpha_s, sigma_s = denoiser.schedule(s)
    x_s = base.step(x_t, t, s, **conditions)
    if noise_below < math.inf and float(sigma_s / alpha_s) > noise_below:
        return x_s
    context.costs.projection_solves += 1
    projected = context.task.projectable(constraint).project(context.decode(x_s / alpha_s))
    return alpha_s * context.space.encode(projected)

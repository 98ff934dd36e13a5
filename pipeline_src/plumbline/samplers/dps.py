r"""Diffusion posterior sampling (DPS): each ancestral step is followed by a step that reduces a misfit.

The misfit is that of the denoised estimate x0(x_t) to an observation y. An ancestral step to x_s is followed
by

    x_s <- x_s - scale (alpha_t^2 + sigma_t^2) grad_{x_t} [ |(y - A x0(x_t)) / noise| + w l(x0(x_t)) ].

As in the publication, the norm is not squared. The factor alpha_t^2 + sigma_t^2 makes the step equal for all
schedules. If a constraint is given, its distance l is added to the misfit ("constraint-guided" in Feng,
Baptista, Bouman). For a model in the space of a mirror map, x0 is mapped back through f before it is compared
("mirror DPS"); nothing else changes.

The last evaluation of the denoiser removes the remaining noise. The published code instead returns its last
step with the noise of that step, whose standard deviation is 0.0074 in the space of the model. `last_noise`
reproduces this.

Sources: Chung et al. (ICLR 2023), https://arxiv.org/abs/2209.14687; Feng, Baptista, Bouman (ICLR 2025),
https://arxiv.org/abs/2406.12816.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class DPSSpec(DenoisingSpec):
    """DPS: approximate posterior samples given an observation (Chung et al. 2023, https://arxiv.org/abs/2209.14687).

    Each ancestral step is followed by a step down the gradient of the misfit.
    """

    kind: Literal["dps"] = "dps"
    steps: int = key(ge=1, default=1000)
    """Number of ancestral steps."""
    scale: float = key("scaled space", gt=0, default=0.05)
    """Length of the step along the gradient of the misfit."""
    constraint: str | None = None
    """Name of a constraint whose distance is added to the misfit; null for none."""
    constraint_weight: float = key(ge=0, default=200.0)
    """w: weight of the constraint's distance."""
    last_noise: float = key("scaled space", ge=0, default=0.0)
    """Standard deviation of noise added to the finished sample (published code: 0.0074)."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        step = partial(dps_step, misfit=partial(self._misfit, context), scale=self.scale, context=context)
        return SteppedSampler(denoiser, step, steps=self.steps)

    def _misfit(self, context: DenoisingContext, x: Tensor) -> Tensor:
        """The misfit (B,) of denoised estimates (B, ...) to the observation and the constraint."""
        misfit = context.task.observed().residual(x).norm(dim=1)
        if self.constraint is not None:
            misfit = misfit + self.constraint_weight * context.task.constraints[self.constraint].distance(x)
        return misfit

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        import torch

        mean = super().last(sampler, z, conditions)
        return mean + self.last_noise * torch.randn_like(mean) if self.last_noise else mean

    def differentiates(self) -> bool:
        return True

    def constraint_names(self) -> list[str]:
        return [self.constraint] if self.constraint else []

    def observes(self) -> bool:
        return True


def dps_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    misfit: Callable[[Tensor], Tensor],
    scale: float,
    context: DenoisingContext,
    **conditions: object,
) -> Tensor:
    """Takes an ancestral step from time t to time s, then a step down the gradient of `misfit`.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step.
        misfit: the misfit (B,) of denoised estimates (B, ...) in the data's units.
        scale: length of the step along the gradient.
        context: the space of the model, and the costs.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    import torch

    (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(t), denoiser.schedule(s)
    with torch.enable_grad():
        x_t = x_t.detach().requires_grad_()
        mean = denoiser(x_t, t, **conditions).mean
        (descent,) = torch.autograd.grad(misfit(context.decode(mean)).sum(), x_t)
    context.costs.backward_passes += 1
    mean, x_t = mean.detach(), x_t.detach()
    kept = (alpha_t / alpha_s * sigma_s / sigma_t) ** 2
    noise = (x_t - alpha_t * mean) / sigma_t
    ancestral = torch.sqrt(kept) * noise + torch.sqrt(1 - kept) * torch.randn_like(x_t)
    move = scale * (alpha_t**2 + sigma_t**2) * descent
    return alpha_s * mean + sigma_s * ancestral - move

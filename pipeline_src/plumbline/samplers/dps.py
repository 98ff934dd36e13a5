r"""Diffusion posterior sampling (Chung et al., ICLR 2023): ancestral steps that move down the misfit to an observation.

With the denoised estimate x0(x_t), an ancestral step to x_s is followed by

    x_s <- x_s - scale (alpha_t^2 + sigma_t^2) grad_{x_t} [ |(y - A x0(x_t)) / noise| + w l(x0(x_t)) ],

the norm not squared, as in the publication, and the factor what makes steps the same for all schedules. With a
constraint, its distance l joins the misfit (Feng, Baptista, Bouman 2025, "constraint-guided"); in the space of a
mirror map x0 comes back through f before it is compared ("mirror DPS"): nothing else changes.

The last evaluation of the denoiser takes the noise that is left off. The published code instead adds the noise of
its last step to what it returns, of 0.0074 in the space of the model; `last_noise` does the same.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Callable

    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class DPSSpec(DenoisingSpec):
    """Draws from the posterior of an observation, approximately, by the gradient of its misfit."""

    kind: Literal["dps"] = "dps"
    steps: int = key(ge=1, default=1000)
    """Ancestral steps."""
    scale: float = key("scaled space", gt=0, default=0.05)
    """Length of the step along the gradient of the misfit."""
    constraint: str | None = None
    """Name of a constraint whose distance joins the misfit."""
    constraint_weight: float = key(ge=0, default=200.0)
    """w, its weight."""
    last_noise: float = key("scaled space", ge=0, default=0.0)
    """Standard deviation of noise that is added to the finished sample, as the published code does (0.0074)."""

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        step = partial(dps_step, misfit=partial(self._misfit, context), scale=self.scale, context=context)
        return SteppedSampler(denoiser, step, steps=self.steps)

    def _misfit(self, context: DenoisingContext, x: Tensor) -> Tensor:
        """How far the denoised estimates (B, ...) are from the observation, and from the constraint (B,)."""
        misfit = context.task.observed().residual(x).norm(dim=1)
        if self.constraint is not None:
            misfit = misfit + self.constraint_weight * context.task.constraints[self.constraint].distance(x)
        return misfit

    def last(self, sampler: Sampler, z: Tensor, conditions: dict[str, Any]) -> Tensor:
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
    **conditions: Any,
) -> Tensor:
    """An ancestral step from the time t to s, and one down the gradient of `misfit`; of the shape of `x_t` (B, ...)."""
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

r"""DiffusionPDE: Heun's method, guided by observations and, at the end, by an equation.

With u = x_t / alpha_t, the ratio rho = sigma_t / alpha_t and the denoiser m, each step from rho to rho' is
one of Heun's method, followed by a step down the gradients of two losses of the last estimate,

    u' <- u' - w_o grad_u L_o(m) - w_e grad_u L_e(m),      L = |h(m)| / number of residuals,

where m is the estimate at the end of the step, and the gradient is with respect to its start. Up to the last
fifth of the steps, w_o is `observation_weight` and w_e is zero. In the last fifth, w_o is a tenth of that and
w_e is `equation_weight`. As published, the norm in L is not squared; here it is that of each sample.

The published weights, between 100 and 10,000, are for fields of 16,384 values, of which 500 are observed. The
range of weights that work is narrow: much larger ones diverge, and much smaller ones have no effect. A
sample's residual stays of the order of the last steps; wrap it in `final_projection` to meet a constraint.

Source: Huang et al. (NeurIPS 2024), algorithm 1, https://arxiv.org/abs/2406.17763.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.samplers import DenoisingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext

# The last part of the steps, in which the equation guides, and the factor of the observations' weight there.
LAST_PART, LAST_FACTOR = 0.2, 0.1


class DiffusionPDESpec(DenoisingSpec):
    """DiffusionPDE: guidance by observations, and by an equation in the last fifth of the steps.

    Source: Huang et al. (2024), https://arxiv.org/abs/2406.17763. It takes two network evaluations and two
    backward passes per step.
    """

    kind: Literal["diffusion_pde"] = "diffusion_pde"
    steps: int = key(ge=1, default=200)
    """Number of time steps (published: 2000)."""
    observations: str | None = None
    """Name of the constraint that holds the observed values; null for none."""
    observation_weight: float = key("standard deviations per unit of the residual", ge=0, default=1.0)
    """Weight of the observations' loss; a tenth of it in the last fifth of the steps."""
    equation: str | None = None
    """Name of the constraint that holds the equation; null for none."""
    equation_weight: float = key("standard deviations per unit of the residual", ge=0, default=1.0)
    """Weight of the equation's loss in the last fifth of the steps."""

    @model_validator(mode="after")
    def _something_that_guides(self) -> DiffusionPDESpec:
        if self.observations is None and self.equation is None:
            raise ValueError("`observations` and `equation` are both null: name a constraint in one of them")
        return self

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._stepped import SteppedSampler

        step = partial(diffusion_pde_step, loss=partial(self._loss, context), context=context)
        return SteppedSampler(denoiser, step, steps=self.steps)

    def _loss(self, context: DenoisingContext, mean: Tensor, t: Tensor) -> Tensor | None:
        """The weighted loss (B,) of estimates (B, ...) of the model's space, in a step from time t.

        None if nothing guides the step.
        """
        import torch

        last = bool(t < LAST_PART)
        factor = LAST_FACTOR if last else 1.0
        weights = {self.observations: factor * self.observation_weight}
        if last:
            weights[self.equation] = weights.get(self.equation, 0.0) + self.equation_weight
        guiding = {name: weight for name, weight in weights.items() if name is not None and weight}
        if not guiding:
            return None
        x = context.decode(mean)
        residuals = {name: context.task.constraints[name].residual(x).flatten(1) for name in guiding}
        losses = [weight * residuals[n].norm(dim=1) / residuals[n].shape[1] for n, weight in guiding.items()]
        return torch.stack(losses).sum(0)

    def differentiates(self) -> bool:
        return True

    def tradeoff_parameter(self) -> str | None:
        return "observation_weight" if self.observations else "equation_weight"

    def constraint_names(self) -> list[str]:
        return sorted({name for name in (self.observations, self.equation) if name is not None})


def diffusion_pde_step(
    denoiser: Denoiser,
    x_t: Tensor,
    t: Tensor,
    s: Tensor,
    *,
    loss: partial[Tensor | None],
    context: DenoisingContext,
    **conditions: object,
) -> Tensor:
    """Takes a step of Heun's method from time t to time s, then a step down the gradient of `loss`.

    Args:
        denoiser: the denoiser.
        x_t: points (B, ...) at time t.
        t: the time before the step.
        s: the time after the step.
        loss: the loss (B,) of estimates (B, ...), given the time before the step; None for no descent.
        context: the costs.
        conditions: keyword arguments of the denoiser.

    Returns:
        Points at time s, with the shape of `x_t`.
    """
    import torch

    (alpha_t, sigma_t), (alpha_s, sigma_s) = denoiser.schedule(t), denoiser.schedule(s)
    before, after = sigma_t / alpha_t, sigma_s / alpha_s
    with torch.enable_grad():
        u = (x_t / alpha_t).detach().requires_grad_()
        noise = (u - denoiser(alpha_t * u, t, **conditions).mean) / before
        mean = denoiser(alpha_s * (u + (after - before) * noise), s, **conditions).mean
        there = (u + (after - before) * noise - mean) / after
        moved = u + (after - before) * (noise + there) / 2
        guiding = loss(mean, t)
        if guiding is None:
            return alpha_s * moved.detach()
        (descent,) = torch.autograd.grad(guiding.sum(), u)
    context.costs.backward_passes += 2
    return alpha_s * (moved.detach() - descent)

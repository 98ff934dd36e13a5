r"""Twisted diffusion sampler (TDS) with azula's sampler: particles, weighted and resampled at each step.

All samples of a batch are particles of one population, so the constraint and the condition must be the same
for all of them. With the estimate m of a particle and its projection P(m), the twist is that of a constraint
that the posterior N(m, v I) meets across the feasible set,

    log p(y | x_t) = -|m - P(m)|^2 / (2 (v + noise^2)),    v = rho^2 / (1 + rho^2),

in the model's space, for standardised data, with rho = sigma_t / alpha_t. The proposal is an ancestral step
with the gradient of the twist, and the weights correct for it. azula resamples at every step, by independent
draws, whatever the weights are. With each step the particles thus descend from fewer ancestors, so that more
steps can make a population worse even where its effective sample size is near one.

The samples are infeasible by about `noise`. Their weights are exact in the limit of many particles; the least
effective sample size of the steps, as a fraction of the particles, is stored with the samples, and a warning
says where it is small. `twisted_smc` has the covariance of the data in its twist, resamples where needed, and
ends on the feasible set.

Source: Wu et al. (NeurIPS 2023), https://arxiv.org/abs/2306.17775.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import ProjectableConstraint
from plumbline.samplers import DenoisingSpec, ImposingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers._denoising import DenoisingContext


class TDSSpec(ImposingSpec, DenoisingSpec):
    """TDS: weighted and resampled particles (Wu et al. 2023, https://arxiv.org/abs/2306.17775).

    It takes one network evaluation and one backward pass per step.
    """

    kind: Literal["tds"] = "tds"
    steps: int = key(ge=1, default=100)
    """Number of time steps (published: 100)."""
    noise: float = key("standard deviations of the model's space", gt=0, default=0.02)
    """Distance from the feasible set that the finished samples may have."""

    def requires(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

    def differentiates(self) -> bool:
        return True

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        from plumbline.samplers._azula_guidance import OTHERWISE, BackwardCounter, WeighedTDSSampler
        from plumbline.samplers._population import require_one_constraint

        require_one_constraint(context, self.constraint, OTHERWISE)

        def log_twist(mean: Tensor, ratio: Tensor) -> Tensor:
            nearest = context.projected(self.constraint, mean.detach())
            # The gradient of half the squared distance is mean - nearest, so that none of it goes through P.
            distance = (mean - nearest).flatten(1).square().sum(1)
            return -distance / (2 * (ratio**2 / (1 + ratio**2) + self.noise**2))

        return WeighedTDSSampler(
            BackwardCounter(denoiser, context.costs), log_twist, steps=self.steps, details=context.details
        )

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        from plumbline.samplers._population import warn_if_few

        remedy = "take more steps, more samples per batch, or `twisted_smc`"
        warn_if_few(self.kind, sampler.details["effective_sample_size"], remedy)
        return super().last(sampler, z, conditions)

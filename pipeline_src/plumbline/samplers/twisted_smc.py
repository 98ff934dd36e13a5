r"""Twisted sequential Monte Carlo: weighted particles follow the constrained distribution.

In terms of u = x_t / alpha_t and the noise-to-signal ratio s, let D(u, s) be the denoiser, and N(D, V) the
Gaussian approximation of x given u (`plumbline.samplers._posterior`). A step from s to s' without a
constraint is ancestral: with q = (s' / s)^2,

    u' ~ N(D + q (u - D), K),    K = s'^2 (1 - q) I + (1 - q)^2 V.

(With the first term alone, as in DDPM, the spread of x given u is neglected, and twice as many steps are
needed for the same error.) At each level, the twist psi_s(u) approximates the probability (density, for
equations) of the constraint given u, that of N(D, V) as in `plumbline.constraints._conditioner`; the mean of
x given u and the constraint is D'. Particles are proposed with D' in place of D, and weighted by

    w' = w  N(u'; D + q (u - D), K) psi_{s'}(u') / [N(u'; D' + q (u - D'), K') psi_s(u)],

where K' = K, except for linear equalities: there K' has the covariance of x given u and the equality in place
of V (`plumbline.samplers._ancestral`), and for a Gaussian all weights are equal.

The weighted particles follow p_{s'}(u') psi_{s'}(u') at each level, whatever the error of psi: where
it is large, weights vary and more particles are needed. A population is resampled (systematically) when its
effective sample size, (sum w)^2 / sum w^2, falls below a fraction of its number of particles. Below
`last_noise`, where psi hardly changes, steps are taken with D' and without weights. Finally the particles are
projected.

Weights decide between the branches of a constraint and between modes, which no sampler without weights does.
The price is that the particles of one population depend on each other: the details count the effective sample
size at its least and the fraction of distinct ancestors.

For equations h(x) = 0, two distributions are meant by "given h(x) = 0" on a curved set:

- `conditioning`: the limit of |h(x)| < eps, with density p(x) / det(J J^T)^{1/2} on the surface;
- `restriction`: the limit of a tube of constant width, with density p(x) on the surface.

Both are the same for linear h, and for inequalities.

**Rejuvenation.** After the weighted steps, `rejuvenation` steps of draw-and-renoise (`draw_and_renoise`) from
the noise level `rejuvenation_noise` make the copies of one ancestor differ.

Sources: Wu, Trippe, Naesseth, Blei, Cunningham (NeurIPS 2023), https://arxiv.org/abs/2306.17775, with an
exact constraint in place of a likelihood and another twist; Chopin and Papaspiliopoulos 2020, An introduction
to sequential Monte Carlo, https://doi.org/10.1007/978-3-030-47845-2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import GaussianConditioning, ProjectableConstraint
from plumbline.samplers import DenoisingSpec, EnforcingSpec, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor

    from plumbline.samplers import Transporting
    from plumbline.samplers._denoising import DenoisingContext


class TwistedSMCSpec(EnforcingSpec, DenoisingSpec):
    """Twisted sequential Monte Carlo with an exact constraint (Wu et al. 2023, https://arxiv.org/abs/2306.17775).

    It takes `steps` + `final_steps` network evaluations per particle, and two more per step of rejuvenation.
    """

    kind: Literal["twisted_smc"] = "twisted_smc"
    steps: int = key(ge=2, default=96)
    """Number of weighted steps, at equal steps of the schedule's time."""
    final_steps: int = key(ge=1, default=8)
    """Number of steps without weights, below `last_noise`."""
    last_noise: float = key("standard deviations of the model's space", gt=0, default=0.05)
    """Noise-to-signal ratio at which weighting ends."""
    covariance: Literal["data", "isotropic"] = key(default="data")
    """Approximation of the posterior covariance in the twist; `isotropic` can have the larger effective
    sample size where the modes of the data differ much."""
    distribution: Literal["conditioning", "restriction"] = key(default="conditioning")
    """The distribution on a curved feasible set; see above."""
    particles: int | None = key(ge=2, default=None)
    """Number of particles of a population; null for the size of the batch."""
    population: Literal["shared", "per_sample"] = key(default="shared")
    """Whether the samples of a batch share populations, which requires that constraint and condition are the
    same for all of them, or each sample has a population, from which one particle is drawn."""
    resample_below: float = key(gt=0, le=1, default=0.5)
    """Fraction of the particles below which the effective sample size leads to resampling."""
    rejuvenation: int = key(ge=0, default=0)
    """Steps of draw-and-renoise after the weighted steps; for equations only."""
    rejuvenation_noise: float = key("standard deviations of the model's space", gt=0, default=0.3)
    """Noise-to-signal ratio at which rejuvenation starts."""

    def requires(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

    def draw(self, model: Transporting, task: SamplingTask) -> Samples:
        from plumbline.samplers._population import warn_if_few

        drawn = super().draw(model, task)
        remedy = "use more steps or particles, or the other `covariance`"
        warn_if_few(self.kind, drawn.details["effective_sample_size"], remedy)
        return drawn

    def build(self, denoiser: Denoiser, context: DenoisingContext) -> Sampler:
        """Builds the sampler.

        Raises:
            ValueError: populations are shared and the constraint differs between samples, or inequalities are
                to be rejuvenated.
        """
        from plumbline.samplers._twisted_smc import TwistedSMC

        return TwistedSMC(
            denoiser,
            context,
            constraint=self.constraint,
            steps=self.steps,
            final_steps=self.final_steps,
            last_noise=self.last_noise,
            covariance=self.covariance,
            distribution=self.distribution,
            particles=self.particles,
            population=self.population,
            resample_below=self.resample_below,
            rejuvenation=self.rejuvenation,
            rejuvenation_noise=self.rejuvenation_noise,
        )

    def last(self, sampler: Sampler, z: Tensor, conditions: Mapping[str, object]) -> Tensor:
        return z

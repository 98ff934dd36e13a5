"""The populations of twisted sequential Monte Carlo; see `twisted_smc` for the theory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from azula.denoise import Denoiser
from azula.sample import Sampler
from jaxtyping import Bool, Float, Int
from torch import Tensor

from plumbline.samplers._ancestral import ancestral_step
from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._noise_levels import SMALLEST_ALPHA, ratio_at, time_at
from plumbline.samplers._population import (
    effective_sample_size,
    require_one_condition,
    require_one_constraint,
)
from plumbline.samplers._posterior import ConditionedPosterior

PER_SAMPLE = "set `population: per_sample`"
"""What to do where the samples of a batch cannot share a population."""


class TwistedSMC(Sampler):
    """Draws one sample per entry of a batch by twisted sequential Monte Carlo.

    Args:
        denoiser: the denoiser.
        context: the task, the space of the model, and the costs; receives the details of the samples.
        constraint: name of the constraint.
        steps: number of weighted steps.
        final_steps: number of steps without weights.
        last_noise: noise-to-signal ratio between the two.
        covariance: the posterior covariance in the twist.
        distribution: the distribution on a curved feasible set.
        particles: number of particles of a population; None for the size of the batch.
        population: whether samples share populations.
        resample_below: fraction of the particles below which the effective sample size leads to resampling.
        rejuvenation: number of steps of draw-and-renoise after the weighted steps.
        rejuvenation_noise: noise-to-signal ratio at which they start.

    Raises:
        ValueError: populations are shared and the constraint differs between samples, or inequalities are to
            be rejuvenated.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        context: DenoisingContext,
        *,
        constraint: str,
        steps: int,
        final_steps: int,
        last_noise: float,
        covariance: Literal["data", "isotropic"],
        distribution: Literal["conditioning", "restriction"],
        particles: int | None,
        population: Literal["shared", "per_sample"],
        resample_below: float,
        rejuvenation: int,
        rejuvenation_noise: float,
    ) -> None:
        super().__init__(steps=steps + final_steps, silent=True)
        self.denoiser, self.context = denoiser, context
        self.constraint, self.covariance = constraint, covariance
        self.restricted = distribution == "restriction"
        self.shared, self.resample_below = population == "shared", resample_below
        count = len(context.task.batch["state"])
        self.particles = count if particles is None else particles
        self.populations = -(-count // self.particles) if self.shared else count
        end = time_at(denoiser.schedule, last_noise)
        self.weighted = torch.linspace(1.0, end, steps + 1)
        self.unweighted = torch.linspace(end, 0.0, final_steps + 1)
        start = time_at(denoiser.schedule, rejuvenation_noise)
        self.rejuvenating = (
            torch.linspace(start, end, rejuvenation + 1)[:-1] if rejuvenation else torch.empty(0)
        )
        if rejuvenation and not context.task.constraints[constraint].smooth:
            raise ValueError(
                "`rejuvenation` moves particles along equations, and the constraint has inequalities: set it "
                "to 0."
            )
        if self.shared:
            require_one_constraint(context, constraint, PER_SAMPLE)

    @property
    def timesteps(self) -> Tensor:
        """The times of all steps but those of rejuvenation, in decreasing order."""
        return torch.cat([self.weighted, self.unweighted[1:]])

    @torch.no_grad()
    def __call__(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """Draws samples; of `x` (B, ...), only shape, dtype and device are used."""
        count, costs = len(x), self.context.costs
        before = costs.network_evaluations, costs.projection_solves
        cases = torch.arange(count, device=x.device)
        if self.shared:
            require_one_condition(conditions, PER_SAMPLE)
            cases = torch.zeros_like(cases)
        total = self.populations * self.particles
        of_particle = cases.repeat_interleave(self.particles) if not self.shared else cases[:1].expand(total)
        chosen, u = self._weighted(x, of_particle, _rows(conditions, of_particle))
        # Costs are those of one sample: its share of the particles.
        for name, start in zip(("network_evaluations", "projection_solves"), before, strict=True):
            setattr(costs, name, start + (getattr(costs, name) - start) * total / count)
        self.context.details.update(chosen)
        posterior, own = self._posterior(cases), _rows(conditions, cases)
        if len(self.rejuvenating):
            u = self._rejuvenated(u, posterior, own)
        return self._finished(u, posterior, own)

    def _weighted(
        self, x: Tensor, cases: Int[Tensor, " N"], conditions: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The details (B,), and the points u (B, ...) drawn from all populations at the last level."""
        shape, times = x.shape[1:], self.weighted.to(x.device)
        ratios = ratio_at(self.denoiser.schedule, times)
        posterior = self._posterior(cases)
        u = ratios[0] * torch.randn(len(cases), *shape, dtype=x.dtype, device=x.device)
        here = self._look(u, times[0], posterior, conditions)
        weights = here.log_twist.view(self.populations, self.particles)
        least = torch.ones_like(weights[:, 0])
        for i in range(len(times) - 1):
            sizes = effective_sample_size(weights)
            least = torch.minimum(least, sizes)
            again = sizes < self.resample_below
            if bool(again.any()):
                kept = self._resampled(weights, again)
                u, here = u[kept], here.rows(kept)
                weights = torch.where(again[:, None], 0.0, weights)
            fraction = (ratios[i + 1] / ratios[i]) ** 2
            step = ancestral_step(posterior, ratios[i], ratios[i + 1])
            deviation = step.draw(u.flatten(1))
            u = here.conditioned + fraction * (u - here.conditioned) + deviation.view_as(u).to(u)
            moved = (1 - fraction) * (here.conditioned - here.mean)
            gained = step.log_ratio(deviation, moved.flatten(1).double()) - here.log_twist
            here = self._look(u, times[i + 1], posterior, conditions)
            weights = weights + (gained + here.log_twist).view_as(weights)
        least = torch.minimum(least, effective_sample_size(weights))
        return self._drawn(u, weights, least, len(x))

    def _drawn(
        self, u: Tensor, weights: Float[Tensor, "P K"], least: Float[Tensor, " P"], count: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Draws `count` particles from all populations, and the details of each."""
        if self.shared:
            everyone = torch.ones_like(least, dtype=torch.bool)
            kept = self._resampled(weights, everyone)
            kept = kept[torch.randperm(len(kept), device=kept.device)[:count]]
            population = kept // self.particles
        else:
            population = torch.arange(count, device=u.device)
            own = torch.multinomial(weights.softmax(1), 1).squeeze(1)
            kept = population * self.particles + own
        distinct = torch.full((count,), len(kept.unique()) / count, dtype=u.dtype, device=u.device)
        return {"effective_sample_size": least[population], "distinct_ancestors": distinct}, u[kept]

    def _resampled(self, weights: Float[Tensor, "P K"], again: Bool[Tensor, " P"]) -> Int[Tensor, " N"]:
        """The particles that survive, systematically resampled where `again` says so."""
        populations, particles = weights.shape
        places = torch.arange(particles, device=weights.device)
        offsets = torch.rand(populations, 1, dtype=weights.dtype, device=weights.device)
        cumulated = weights.softmax(1).cumsum(1)
        survivors = torch.searchsorted(cumulated, (places + offsets) / particles).clamp(max=particles - 1)
        survivors = torch.where(again[:, None], survivors, places)
        firsts = particles * torch.arange(populations, device=weights.device)[:, None]
        return (firsts + survivors).flatten()

    def _look(
        self, u: Tensor, t: Tensor, posterior: ConditionedPosterior, conditions: dict[str, Tensor]
    ) -> Look:
        """The denoiser, its mean given the constraint, and the twist at points u of time t."""
        alpha, sigma = self.denoiser.schedule(t)
        mean = self.denoiser(alpha.clamp(min=SMALLEST_ALPHA) * u, t, **conditions).mean
        given = posterior.given(mean, alpha, sigma)
        twist = given.log_probability + given.log_volume if self.restricted else given.log_probability
        return Look(mean, given.mean.view_as(mean).to(mean.dtype), twist)

    def _rejuvenated(
        self, u: Tensor, posterior: ConditionedPosterior, conditions: dict[str, Tensor]
    ) -> Tensor:
        """Takes the steps of draw-and-renoise, and returns to the last level."""
        times = torch.cat([self.rejuvenating, self.weighted[-1:]]).to(u.device)
        here = self._look(u, times[-1], posterior, conditions)
        z = here.conditioned
        for t in times[:-1]:
            alpha, sigma = self.denoiser.schedule(t)
            noisy = alpha * z + sigma * torch.randn_like(z)
            z = posterior.draw(self.denoiser(noisy, t, **conditions).mean, alpha, sigma)
        return z + ratio_at(self.denoiser.schedule, times[-1]) * torch.randn_like(z)

    def _finished(self, u: Tensor, posterior: ConditionedPosterior, conditions: dict[str, Tensor]) -> Tensor:
        """Ancestral steps with the conditioned denoiser to the end of the schedule, and its last mean."""
        times = self.unweighted.to(u.device)
        ratios = ratio_at(self.denoiser.schedule, times)
        for i in range(len(times) - 1):
            here = self._look(u, times[i], posterior, conditions)
            fraction = (ratios[i + 1] / ratios[i]) ** 2
            std = ratios[i + 1] * (1 - fraction).sqrt()
            u = here.conditioned + fraction * (u - here.conditioned) + std * torch.randn_like(u)
        return self._look(u, times[-1], posterior, conditions).conditioned

    def _posterior(self, cases: Int[Tensor, " N"]) -> ConditionedPosterior:
        return ConditionedPosterior.of(self.constraint, self.context, self.covariance, cases)


@dataclass(frozen=True)
class Look:
    """What a particle knows at its level.

    Attributes:
        mean: the denoiser D.
        conditioned: its mean given the constraint, D'.
        log_twist: log psi.
    """

    mean: Float[Tensor, "N *Z"]
    conditioned: Float[Tensor, "N *Z"]
    log_twist: Float[Tensor, " N"]

    def rows(self, kept: Int[Tensor, " N"]) -> Look:
        """The same for the particles with these indices."""
        return Look(self.mean[kept], self.conditioned[kept], self.log_twist[kept])


def _rows(conditions: dict[str, Tensor], cases: Int[Tensor, " N"]) -> dict[str, Tensor]:
    return {name: value[cases] for name, value in conditions.items()}

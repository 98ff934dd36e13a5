r"""A product of experts under constraints (Khalafi, Hounie, Ding, Ribeiro 2025, algorithm 3).

The product is as close as possible to the expert that it is farthest from,

    min_{p, u} u   subject to   KL(p || q_i) <= u.

At multipliers lambda, which sum to one by stationarity in u, the optimal distribution is the normalised
product prod_i q_i^lambda_i. The dual function is minus the logarithm of the normalising integral, and its
gradient are the divergences: the power of the expert that is farthest from the product rises, until all
experts with a positive power are equally far.

The score of the product is the sum of the experts' scores weighted by their powers. The same holds for its
posterior mean as Langevin dynamics uses it. Divergences are estimated on samples (`_divergences.divergence`)
as the excess over the weighted sum of the denoisers. This adds the same constant to all of them, which does
not matter on the simplex.

Source: https://arxiv.org/abs/2508.19104.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from azula.denoise import Denoiser, DiracPosterior
from torch import Tensor, nn

from plumbline.models import Denoising
from plumbline.models._preparing import PreparedInBlocks
from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion._shared_space import SharedSpace
from plumbline.models.distributional._divergences import MeanOf, divergence
from plumbline.models.distributional._multipliers import Multipliers
from plumbline.samplers import Costs, DenoisingSpec, SamplingTask
from plumbline.samplers._denoising import denoise


class ProductDenoiser(Denoiser):
    """The weighted sum of the posterior means of experts, in the space of the first expert.

    Args:
        experts: trained diffusion models by name.
        multipliers: the powers of the experts.
    """

    def __init__(self, experts: Mapping[str, Denoising], multipliers: Multipliers) -> None:
        super().__init__()
        self.experts = nn.ModuleDict({name: SharedSpace(expert, name) for name, expert in experts.items()})
        self.multipliers = multipliers
        name, first = next(iter(experts.items()))
        self.schedule = first.denoiser.schedule
        self.space = SharedSpace(first, name).standardisation()

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Mapping[str, object]) -> DiracPosterior:
        """The posterior mean of the product as Langevin dynamics uses it.

        Args:
            x_t: noisy samples.
            t: their times.
            conditions: the keyword arguments of each expert, by its name.
        """
        means = torch.stack([self.expert_mean(name, x_t, t, **conditions[name]) for name in self.experts])
        return DiracPosterior(torch.tensordot(self.multipliers.values.to(means), means, dims=1))

    def expert_mean(self, name: str, x_t: Tensor, t: Tensor, **conditions: object) -> Tensor:
        """The posterior mean of one expert."""
        expert = cast("SharedSpace", self.experts[name])
        return expert.mean(self.space, self.schedule, x_t, t, **conditions)


class Product(PreparedInBlocks, nn.Module):
    """A product of experts, of which only the powers are learned.

    Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), algorithm 3, https://arxiv.org/abs/2508.19104.

    Args:
        experts: trained diffusion models by name.
        powers: one multiplier per expert; they sum to one.
        sampler: draws the samples on which divergences are estimated.
        smoothing: standard deviation of the noise on both distributions of a divergence.
    """

    def __init__(
        self,
        experts: Mapping[str, Denoising],
        *,
        powers: Multipliers,
        sampler: DenoisingSpec,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.names, self.sampler, self.smoothing = list(experts), sampler, smoothing
        self.denoiser = ProductDenoiser(dict(experts), powers)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The space of the first expert."""
        return self.denoiser.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Mapping[str, object]]:
        """The keyword arguments of each expert for a batch, by its name."""
        experts = self.denoiser.experts.items()
        return {name: cast("SharedSpace", expert).conditions(batch) for name, expert in experts}

    @torch.no_grad()
    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The largest divergence, up to a constant common to all, and the terms.

        It has no gradient: only dual steps follow.
        """
        x = denoise(self, self.sampler, SamplingTask(batch, device=batch["state"].device), Costs())
        z = self.space_of(batch).encode(x).to(batch["state"].dtype)
        conditions = self.conditions(batch)
        composed = lambda x_t, t: self.denoiser(x_t, t, **conditions).mean  # noqa: E731
        schedule, smoothing, terms = self.denoiser.schedule, self.smoothing, {}
        for name in self.names:
            expert = self._expert(name, conditions[name])
            terms[f"divergence_{name}"] = divergence(schedule, z, expert, composed, smoothing).mean()
        terms |= self.denoiser.multipliers.terms(self.names)
        return self._divergences(terms).max(), terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Takes the dual step."""
        self.denoiser.multipliers.update(self._divergences(terms))

    def _expert(self, name: str, conditions: Mapping[str, object]) -> MeanOf:
        """The posterior mean of one expert, for a batch with these conditions."""
        return lambda x_t, t: self.denoiser.expert_mean(name, x_t, t, **conditions)

    def _divergences(self, terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([terms[f"divergence_{name}"] for name in self.names])

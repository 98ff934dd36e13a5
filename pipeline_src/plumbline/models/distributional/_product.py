r"""A product of experts under constraints (Khalafi, Hounie, Ding, Ribeiro 2025, algorithm 3).

The problem is to be near to every expert at once,

    min_{p, u} u   subject to   KL(p || q_i) <= u.

At multipliers lambda, which the stationarity of u makes sum to one, the best distribution is the product prod_i q_i^lambda_i
over its integral. The dual function is minus the logarithm of that integral, and its gradient the divergences themselves:
the power of the expert that the product is farthest from rises, until all that have a power are equally far.

The score of the product is the sum of the scores of the experts with the powers as weights, and so is its posterior mean as
Langevin dynamics uses it. Divergences are estimated on samples (`dual_diffusion.divergence`), as the excess over one
denoiser, the weighted sum: what that adds is the same for all, and on the simplex it does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from azula.denoise import Denoiser, DiracPosterior
from torch import Tensor, nn

from plumbline.models._spaces import Standardisation
from plumbline.models.diffusion._shared_space import SharedSpace
from plumbline.models.distributional._divergences import divergence
from plumbline.models.distributional._multipliers import Multipliers
from plumbline.samplers import Costs, DenoisingSpec, SamplingTask
from plumbline.samplers._denoising import denoise


class ProductDenoiser(Denoiser):
    """The weighted sum of the posterior means of experts, in the space of the first."""

    def __init__(self, experts: Mapping[str, Any], multipliers: Multipliers) -> None:
        super().__init__()
        self.experts = nn.ModuleDict({name: SharedSpace(expert, name) for name, expert in experts.items()})
        self.multipliers = multipliers
        first = next(iter(experts.values()))
        self.schedule = first.denoiser.schedule
        self.space: Standardisation = first.space_of({})

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Mapping[str, Tensor]) -> DiracPosterior:
        """The posterior of the product as Langevin dynamics uses it; `conditions` are those of each expert by its name."""
        means = torch.stack([self.expert_mean(name, x_t, t, **conditions[name]) for name in self.experts])
        return DiracPosterior(torch.tensordot(self.multipliers.values.to(means), means, dims=1))

    def expert_mean(self, name: str, x_t: Tensor, t: Tensor, **conditions: Tensor) -> Tensor:
        """The posterior mean of one expert."""
        expert: Any = self.experts[name]
        return expert.mean(self.space, self.schedule, x_t, t, **conditions)


class Product(nn.Module):
    """A product of experts, of which nothing but the powers is learned.

    Args:
        experts: trained diffusion models by name.
        powers: multipliers of as many constraints as there are experts, which sum to one.
        sampler: how samples are drawn that divergences are estimated on.
        smoothing: noise on both sides of a divergence.
    """

    def __init__(
        self,
        experts: Mapping[str, Any],
        *,
        powers: Multipliers,
        sampler: DenoisingSpec,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.names, self.sampler, self.smoothing = list(experts), sampler, smoothing
        self.denoiser = ProductDenoiser(dict(experts), powers)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Nothing: the experts are trained."""

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation:
        """The space of the first expert."""
        return self.denoiser.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The keyword arguments of each expert for a batch, by its name."""
        experts: Any = self.denoiser.experts
        return {name: expert.conditions(batch) for name, expert in experts.items()}

    @torch.no_grad()
    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The largest divergence, up to what is the same for all, without a gradient: dual steps follow it. And the terms."""
        x = denoise(self, self.sampler, SamplingTask(batch, device=batch["state"].device), Costs())
        z = self.space_of(batch).encode(x).to(batch["state"].dtype)
        given = self.conditions(batch)
        composed = lambda x_t, t: self.denoiser(x_t, t, **given).mean  # noqa: E731
        schedule, smoothing, terms = self.denoiser.schedule, self.smoothing, {}
        for name in self.names:
            mean = partial(self.denoiser.expert_mean, name, **given[name])
            terms[f"divergence_{name}"] = divergence(schedule, z, mean, composed, smoothing).mean()
        terms |= self.denoiser.multipliers.terms(self.names)
        return self._divergences(terms).max(), terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """The dual step."""
        self.denoiser.multipliers.update(self._divergences(terms))

    def _divergences(self, terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([terms[f"divergence_{name}"] for name in self.names])

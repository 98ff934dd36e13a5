r"""Dual training of a diffusion model (Khalafi, Ding, Ribeiro, NeurIPS 2024).

The model p is to be near to the data q under constraints on its divergence from other distributions q_1 ... q_m:

    min_p KL(q || p)   subject to   KL(q_i || p) <= b_i.

The Lagrangian with the multipliers lambda is, up to what does not depend on p, (1 + L) KL(q_lambda || p) with L = sum_i
lambda_i and the mixture

    q_lambda = (q + sum_i lambda_i q_i) / (1 + L),

which is the best model at these multipliers. Its denoiser is what the mean of the denoising losses with the weights
(1, lambda_1, ..., lambda_m) / (1 + L) has as its minimiser, whatever the weights of the noise levels: **primal** steps minimise
that. **Dual** steps move the multipliers by the violations KL(q_i || p) - b_i, in nats (`divergence`). A threshold on the
loss itself would hide the entropy of q_i in it, and be so sharp that a few percent move the multipliers tenfold.

Without data, the **largest divergence** is made as small as can be (composition by mixture; Khalafi, Hounie, Ding, Ribeiro
2025, problem UF-C): u is least subject to KL(q_i || p) <= u, the multipliers sum to one, and q_lambda = sum_i lambda_i q_i.
The publication puts losses there for the divergences, which are the **cross-entropies** E_{q_i}[-log p] = KL(q_i || p) + H(q_i)
(`cross_entropy`): the mixture is then that of the largest entropy, and sets that do not overlap weigh exp(H(q_i)), where with
divergences they all weigh the same.

The divergence needs the denoiser of q_i. Where no trained model is named, the network learns it too: told the set (one
number for each, ones and zeros), it denoises that set alone. Both answers share their weights and so what they get wrong,
and the difference of their losses is what knowing the set is worth. What the network is told to learn of the set so is weighted
by exp(-b_i), the share that the constraint asks for: weighted more, it would know the few samples of a rare set by heart where
the model itself does not, and call that a divergence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from azula.denoise import KarrasDenoiser
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._spaces import MirrorSpace, Standardisation, StandardisedCondition
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times
from plumbline.models.diffusion._shared_space import SharedSpace
from plumbline.models.distributional._divergences import (
    StandardGaussian,
    excess,
    gaussian_cross_entropy,
    noisy_samples,
)
from plumbline.models.distributional._multipliers import Multipliers
from plumbline.models.distributional._set_specs import ConstraintSetSpec, Objective, constrained_columns
from plumbline.models.distributional._sets import Samples, drawn_set, fraction_of, read_set
from plumbline.networks import SampleShape


class DualDiffusion(nn.Module):
    """A denoiser of standardised samples (B, ...), trained under constraints on divergences.

    Args:
        sample: the shape of samples.
        models: trained models by name, those that sets name.
        network: makes the backbone, whose condition is that of the data and which set it is.
        schedule: the noise schedule, which says what is trained at.
        space: the space that the denoiser works in. A divergence is the same in all of them, but for the noise on both sides.
        sets: the constraint distributions by name.
        objective: what is least.
        multipliers: of as many constraints as there are sets.
        set_batch: samples of each set in a step.
        smoothing: noise on both sides of a divergence.
    """

    thresholds: Tensor

    def __init__(
        self,
        sample: SampleShape,
        models: Mapping[str, nn.Module],
        *,
        network: Callable[[SampleShape], nn.Module],
        schedule: TrainedSchedule,
        space: Standardisation | MirrorSpace,
        sets: Mapping[str, ConstraintSetSpec],
        multipliers: Multipliers,
        objective: Objective = "data",
        set_batch: int = 32,
        smoothing: float = 0.3,
    ) -> None:
        super().__init__()
        self.described, self.objective, self.set_batch, self.smoothing = sets, objective, set_batch, smoothing
        self.columns = constrained_columns(sets, objective)
        self.space: Any = space
        self.condition = StandardisedCondition(sample.condition)
        self.schedule = schedule
        known = {name: model for name, entry in sets.items() if (model := entry.known_by())}
        # Sets that no trained model knows are learned beside the model, but for cross-entropies.
        self.learned = [name for name in sets if name not in known and objective != "largest_cross_entropy"]
        shape = replace(sample, condition=sample.condition + len(self.learned))
        self.denoiser = KarrasDenoiser(network(shape), schedule)
        self.multipliers = multipliers
        self.oracles = nn.ModuleDict(
            {name: SharedSpace(models[model], model) for name, model in known.items()}
            if objective != "largest_cross_entropy"
            else {name: StandardGaussian() for name in sets}
        )
        # Sets are drawn from them before the training; afterwards they are not needed.
        self.drawn_from = {
            entry.drawn.model: models[entry.drawn.model] for entry in sets.values() if entry.drawn
        }
        self.register_buffer("thresholds", torch.tensor([entry.threshold or 0.0 for entry in sets.values()]))
        # No buffers: training data is not saved with the weights, nor averaged.
        self.sets: dict[str, Samples] = {}

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the space and the standardisation of conditions, and takes or draws the samples of the sets.

        Raises:
            ValueError: a set is empty, or the dataset does not tell who is of it.
        """
        self.space.fit(data["state"])
        self.condition.fit(data)
        self.sets = {
            name: drawn_set(entry.drawn, self.drawn_from[entry.drawn.model], data)
            if entry.drawn
            else read_set(name, entry, data)
            for name, entry in self.described.items()
        }
        fractions = [fraction_of(entry, data) for entry in self.described.values()]
        self.multipliers.fit(torch.tensor(fractions), self.thresholds)

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over the denoiser of a diffusion model, and the space that it works in."""
        for name in ("denoiser", "space", "condition"):
            own = {
                key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")
            }
            getattr(self, name).load_state_dict(own)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation | MirrorSpace:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch of no set."""
        return self._conditions(batch, None)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The Lagrangian over one plus the sum of the multipliers, and what the learned oracles lose; and its terms."""
        # In the space of a mirror map, to encode is to ask a network: once for the losses and the divergences.
        batch = self._encoded(batch)
        sets = {name: self._encoded(self._drawn(name, batch["state"].device)) for name in self.sets}
        groups: list[tuple[Samples, str | None]] = [(batch, None)]
        groups += [(samples, None) for samples in sets.values()]
        groups += [(sets[name], name) for name in self.learned]
        losses = self._denoising_losses(groups)
        objective, constraints, oracles = losses.split([1, len(sets), len(self.learned)])
        weights = self.multipliers.values
        of_data = 1.0 if self.objective == "data" else 0.0
        lagrangian = (of_data * objective.squeeze(0) + weights @ constraints) / (of_data + weights.sum())
        found = self.constrained(sets)
        terms = {"denoising": objective.squeeze(0).detach()}
        terms |= dict(zip(self.columns.values(), found, strict=True))
        terms |= self.multipliers.terms(sets)
        return lagrangian + self._asked() @ oracles, terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """The dual step."""
        found = torch.stack([terms[column] for column in self.columns.values()])
        self.multipliers.update(found - self.thresholds)

    @torch.no_grad()
    def constrained(self, sets: Mapping[str, Samples]) -> Float[Tensor, " m"]:
        """Estimates of KL(q_i || p) or E_{q_i}[-log p] from samples of each set, in nats: one pass of the network for all.

        Args:
            sets: samples of each set, `state` in the model's space.
        """
        z = {name: samples["state"] for name, samples in sets.items()}
        noisy = {name: noisy_samples(self.schedule, part, self.smoothing) for name, part in z.items()}
        asked = [(name, None) for name in sets] + [(name, name) for name in sets if name in self.learned]
        conditions = self._joined([(sets[of], told) for of, told in asked])
        x_t, t = (torch.cat([noisy[of][k] for of, _ in asked]) for k in (0, 1))
        told = self.denoiser(x_t, t, **conditions).mean.split([len(z[of]) for of, _ in asked])
        means = dict(zip(asked, told, strict=True))
        found = []
        for name, (points, times, weights) in noisy.items():
            oracle = (
                means[name, name] if name in self.learned else self._known(name, points, times, sets[name])
            )
            found.append(
                (weights * excess(z[name], means[name, None], oracle) + self._of_oracle(z[name])).mean()
            )
        return torch.stack(found)

    def _asked(self) -> Float[Tensor, " learned"]:
        """The shares that the constraints ask for of the sets with a learned oracle; equal ones where none is asked for."""
        if self.objective != "data":
            return torch.full((len(self.learned),), 1 / len(self.sets), device=self.thresholds.device)
        return torch.exp(-self.thresholds[[name in self.learned for name in self.sets]])

    def _denoising_losses(self, groups: list[tuple[Samples, str | None]]) -> Float[Tensor, " groups"]:
        """The mean denoising loss of each group of samples, told its set or none, in one pass of the network."""
        z = [samples["state"] for samples, _ in groups]
        t = torch.cat([stratified_times(self.schedule, len(part), part) for part in z])
        conditions = self._joined(groups)
        x = torch.cat(z)
        alpha, sigma = (c.view(-1, *(1,) * (x.ndim - 1)) for c in self.schedule(t))
        mean = self.denoiser(alpha * x + sigma * torch.randn_like(x), t, **conditions).mean
        errors = ((alpha / sigma).square() + 1) * (mean - x).square()
        return torch.stack([part.mean() for part in errors.split([len(part) for part in z])])

    def _known(self, name: str, x_t: Tensor, t: Tensor, samples: Samples) -> Tensor:
        """The posterior mean that a set is measured against where the network does not learn it."""
        oracle: Any = self.oracles[name]
        return oracle.mean(self.space, self.schedule, x_t, t, **oracle.conditions(samples))

    def _of_oracle(self, z: Tensor) -> Tensor:
        """What the oracle's own share of the constrained quantity is: nothing of a divergence."""
        if self.objective != "largest_cross_entropy":
            return z.new_zeros(len(z))
        volume = self.space.scale.expand(z.shape[1:]).log().sum()
        return gaussian_cross_entropy(z, self.smoothing) + volume

    def _joined(self, groups: list[tuple[Samples, str | None]]) -> dict[str, Tensor]:
        """The conditions of several groups of samples, told their set or none, in a row."""
        told = [self._conditions(samples, name) for samples, name in groups]
        return {key: torch.cat([one[key] for one in told]) for key in told[0]}

    def _conditions(self, samples: Samples, name: str | None) -> dict[str, Tensor]:
        """The network's condition: that of the dataset, and which of the sets with a learned oracle it is told."""
        own = self.condition.arguments(samples)
        if not self.learned:
            return own
        count, device = len(samples["state"]), samples["state"].device
        told = torch.zeros(count, len(self.learned), device=device)
        if name is not None:
            told[:, self.learned.index(name)] = 1.0
        return {"condition": torch.cat([own["condition"], told], dim=1) if own else told}

    def _encoded(self, samples: Samples) -> Samples:
        """The samples with their `state` in the model's space."""
        return {**samples, "state": self.space.encode(samples["state"])}

    def _drawn(self, name: str, device: torch.device) -> Samples:
        """A batch of a set, drawn with replacement."""
        if self.sets[name]["state"].device != device:
            self.sets[name] = {key: tensor.to(device) for key, tensor in self.sets[name].items()}
        samples = self.sets[name]
        chosen = torch.randint(len(samples["state"]), (self.set_batch,), device=device)
        return {key: tensor[chosen] for key, tensor in samples.items()}

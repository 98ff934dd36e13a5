r"""Dual training of a diffusion model (Khalafi, Ding, Ribeiro, NeurIPS 2024).

The model p approximates the data q under constraints on its divergence from other distributions q_1 ... q_m:

    min_p KL(q || p)   subject to   KL(q_i || p) <= b_i.

The Lagrangian with multipliers lambda is, up to terms that do not depend on p, (1 + L) KL(q_lambda || p),
with L = sum_i lambda_i and the mixture

    q_lambda = (q + sum_i lambda_i q_i) / (1 + L),

which is the optimal model at these multipliers. Its denoiser minimises the mean of the denoising losses with
the weights (1, lambda_1, ..., lambda_m) / (1 + L), for any weighting of the noise levels. **Primal** steps
minimise this mean. **Dual** steps move the multipliers by the violations KL(q_i || p) - b_i, in nats
(`divergence`). A threshold on the loss itself would include the unknown entropy of q_i, and would be so
sensitive that a change of a few percent moves the multipliers tenfold.

Without data, the **largest divergence** is minimised (composition by mixture; Khalafi, Hounie, Ding, Ribeiro
2025, problem UF-C): u is minimal subject to KL(q_i || p) <= u, the multipliers sum to one, and
q_lambda = sum_i lambda_i q_i. The publication uses losses in place of the divergences, which amount to the
**cross-entropies** E_{q_i}[-log p] = KL(q_i || p) + H(q_i). The solution is then the mixture of maximum
entropy: disjoint sets have weights proportional to exp(H(q_i)), whereas with divergences all weights are
equal.

The divergence needs the denoiser of q_i. Where no trained model is named, the network learns it as well:
conditioned on the set (one-hot), it denoises that set alone. Both denoisers share weights and therefore
errors, and the difference of their losses measures the information in knowing the set. The set-conditioned
loss is weighted by exp(-b_i), the fraction that the constraint requires. With a larger weight the network
would memorise the few samples of a rare set when conditioned on it but not otherwise, and the difference
would count as a divergence.

Sources: https://arxiv.org/abs/2408.15094; https://arxiv.org/abs/2508.19104.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import cast

import torch
from azula.denoise import KarrasDenoiser
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models import Denoising
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
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
from plumbline.models.distributional._set_specs import (
    ConstraintSetSpec,
    Objective,
    ThresholdUnit,
    constrained_columns,
)
from plumbline.models.distributional._sets import Samples, drawn_set, fraction_of, read_set
from plumbline.networks import SampleShape


class DualDiffusion(PreparedInBlocks, nn.Module):
    """A denoiser of standardised samples (B, ...), trained under constraints on divergences.

    Sources: Khalafi, Ding, Ribeiro (NeurIPS 2024), https://arxiv.org/abs/2408.15094; for the objectives
    without data Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), https://arxiv.org/abs/2508.19104.

    Args:
        sample: the shape of samples.
        models: the trained models that sets name, by name.
        network: builds the backbone, conditioned on the dataset's condition and on the set.
        schedule: the noise schedule, with the distribution of times in training.
        space: the space that the denoiser works in. Divergences do not depend on it, except for the noise on
            both distributions.
        sets: the constraint distributions by name.
        objective: the quantity to minimise.
        multipliers: one multiplier per set.
        set_batch: samples of each set in a step.
        smoothing: standard deviation of the noise on both distributions of a divergence.
        unit: the unit of thresholds; with `loss`, the denoising loss of each set is bounded in place of its
            divergence.

    Attributes:
        thresholds: the thresholds (m,).
    """

    thresholds: Tensor

    def __init__(
        self,
        sample: SampleShape,
        models: Mapping[str, Denoising],
        *,
        network: Callable[[SampleShape], nn.Module],
        schedule: TrainedSchedule,
        space: Standardisation | MirrorSpace,
        sets: Mapping[str, ConstraintSetSpec],
        multipliers: Multipliers,
        objective: Objective = "data",
        set_batch: int = 32,
        smoothing: float = 0.3,
        unit: ThresholdUnit = "nats",
    ) -> None:
        super().__init__()
        self.described, self.objective, self.set_batch, self.smoothing = sets, objective, set_batch, smoothing
        self.columns, self.unit = constrained_columns(sets, objective, unit), unit
        self.space = space
        self.condition = StandardisedCondition.of_vector(sample)
        self.schedule = schedule
        known = {name: model for name, entry in sets.items() if (model := entry.known_by())}
        # Sets without a trained model are learned along with the model; cross-entropies and losses do not
        # need that.
        alone = objective == "largest_cross_entropy" or unit == "loss"
        self.learned = [name for name in sets if name not in known and not alone]
        shape = replace(sample, condition=sample.condition + len(self.learned))
        self.denoiser = KarrasDenoiser(network(shape), schedule)
        self.multipliers = multipliers
        self.oracles = nn.ModuleDict(
            {name: SharedSpace(models[model], model) for name, model in known.items()}
            if not alone
            else {name: StandardGaussian() for name in sets if unit == "nats"}
        )
        # These models draw sets before the training, and are not needed afterwards.
        self.drawn_from = {
            entry.drawn.model: models[entry.drawn.model] for entry in sets.values() if entry.drawn
        }
        self.register_buffer("thresholds", torch.tensor([entry.threshold or 0.0 for entry in sets.values()]))
        # Not buffers: training data is neither saved nor averaged with the weights.
        self.sets: dict[str, Samples] = {}

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the space and the standardisation of conditions, and selects or draws the samples of the sets.

        The samples of all sets are held in memory.

        Raises:
            ValueError: a set is empty, or the dataset lacks a variable that defines it.
        """
        self.space.fit_blocks(block["state"] for block in blocks)
        self.space.fit_covariance(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)
        self.sets = {
            name: drawn_set(entry.drawn, self.drawn_from[entry.drawn.model], blocks)
            if entry.drawn
            else read_set(name, entry, blocks)
            for name, entry in self.described.items()
        }
        fractions = [fraction_of(entry, blocks) for entry in self.described.values()]
        self.multipliers.fit(torch.tensor(fractions), self.thresholds)

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over the denoiser, space and condition of a diffusion model."""
        for name in ("denoiser", "space", "condition"):
            own = {
                key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")
            }
            getattr(self, name).load_state_dict(own)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation | MirrorSpace:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch, conditioned on no set."""
        return self._conditions(batch, None)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The normalised Lagrangian plus the weighted losses of the learned oracles, and its terms."""
        # Encoding evaluates a network in the space of a mirror map: once for both losses and divergences.
        batch = self._encoded(batch)
        sets = {name: self._encoded(self._drawn(name, batch["state"].device)) for name in self.sets}
        groups: list[tuple[Samples, str | None]] = [(batch, None)]
        groups += [(samples, None) for samples in sets.values()]
        groups += [(sets[name], name) for name in self.learned]
        losses = self._denoising_losses(groups)
        objective, constraints, oracles = losses.split([1, len(sets), len(self.learned)])
        weights = self.multipliers.values
        data_weight = 1.0 if self.objective == "data" else 0.0
        lagrangian = data_weight * objective.squeeze(0) + weights @ constraints
        lagrangian = lagrangian / (data_weight + weights.sum())
        found = constraints.detach() if self.unit == "loss" else self.constrained(sets)
        terms = {"denoising": objective.squeeze(0).detach()}
        terms |= dict(zip(self.columns.values(), found, strict=True))
        terms |= self.multipliers.terms(sets)
        return lagrangian + self._oracle_weights() @ oracles, terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Takes the dual step."""
        found = torch.stack([terms[column] for column in self.columns.values()])
        self.multipliers.update(found - self.thresholds)

    @torch.no_grad()
    def constrained(self, sets: Mapping[str, Samples]) -> Float[Tensor, " m"]:
        """Estimates of KL(q_i || p) or E_{q_i}[-log p] from samples of each set, in nats.

        The network is evaluated in one pass for all sets.

        Args:
            sets: samples of each set, `state` in the model's space.
        """
        z = {name: samples["state"] for name, samples in sets.items()}
        noisy = {name: noisy_samples(self.schedule, part, self.smoothing) for name, part in z.items()}
        # Pairs of the set that samples are from, and the set that the network is conditioned on.
        pairs = [(name, None) for name in sets] + [(name, name) for name in sets if name in self.learned]
        conditions = self._joined([(sets[source], label) for source, label in pairs])
        x_t, t = (torch.cat([noisy[source][k] for source, _ in pairs]) for k in (0, 1))
        denoised = self.denoiser(x_t, t, **conditions).mean.split([len(z[source]) for source, _ in pairs])
        means = dict(zip(pairs, denoised, strict=True))
        found = []
        for name, (points, times, weights) in noisy.items():
            oracle = (
                means[name, name] if name in self.learned else self._known(name, points, times, sets[name])
            )
            found.append(
                (weights * excess(z[name], means[name, None], oracle) + self._oracle_entropy(z[name])).mean()
            )
        return torch.stack(found)

    def _oracle_weights(self) -> Float[Tensor, " learned"]:
        """The weights of the learned oracles' losses: the required fractions of their sets, or equal ones."""
        if self.objective != "data":
            return torch.full((len(self.learned),), 1 / len(self.sets), device=self.thresholds.device)
        places = [place for place, name in enumerate(self.sets) if name in self.learned]
        chosen = [self.thresholds[place : place + 1] for place in places]
        return torch.exp(-torch.cat([self.thresholds[:0], *chosen]))

    def _denoising_losses(self, groups: list[tuple[Samples, str | None]]) -> Float[Tensor, " groups"]:
        """The mean denoising loss of each group of samples, conditioned on a set or none, in one pass."""
        z = [samples["state"] for samples, _ in groups]
        t = torch.cat([stratified_times(self.schedule, len(part), part) for part in z])
        conditions = self._joined(groups)
        x = torch.cat(z)
        alpha, sigma = (c.view(-1, *(1,) * (x.ndim - 1)) for c in self.schedule(t))
        mean = self.denoiser(alpha * x + sigma * torch.randn_like(x), t, **conditions).mean
        errors = ((alpha / sigma).square() + 1) * (mean - x).square()
        return torch.stack([part.mean() for part in errors.split([len(part) for part in z])])

    def _known(self, name: str, x_t: Tensor, t: Tensor, samples: Samples) -> Tensor:
        """The reference posterior mean of a set that the network does not learn."""
        oracle, space = cast("SharedSpace | StandardGaussian", self.oracles[name]), self._standardised()
        return oracle.mean(space, self.schedule, x_t, t, **oracle.conditions(samples))

    def _standardised(self) -> Standardisation:
        """The space; the spec ensures that it is not that of a mirror map."""
        assert isinstance(self.space, Standardisation)
        return self.space

    def _oracle_entropy(self, z: Tensor) -> Tensor:
        """The cross-entropy of the oracle, which cross-entropies contain; zero for divergences."""
        if self.objective != "largest_cross_entropy":
            return z.new_zeros(len(z))
        volume = self._standardised().scale.expand(z.shape[1:]).log().sum()
        return gaussian_cross_entropy(z, self.smoothing) + volume

    def _joined(self, groups: list[tuple[Samples, str | None]]) -> dict[str, Tensor]:
        """The concatenated conditions of several groups of samples, each with the name of a set or None."""
        conditions = [self._conditions(samples, name) for samples, name in groups]
        return {key: torch.cat([one[key] for one in conditions]) for key in conditions[0]}

    def _conditions(self, samples: Samples, name: str | None) -> dict[str, Tensor]:
        """The network's condition: that of the dataset, and one-hot the set, where its oracle is learned."""
        own = self.condition.arguments(samples)
        if not self.learned:
            return own
        count, device = len(samples["state"]), samples["state"].device
        label = torch.zeros(count, len(self.learned), device=device)
        if name is not None:
            label[:, self.learned.index(name)] = 1.0
        return {"condition": torch.cat([own["condition"], label], dim=1) if own else label}

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

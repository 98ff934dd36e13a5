r"""Ancestral sampling as a chain of Gaussian transitions, and the divergence between two chains.

With u_t = x_t / alpha_t and the ratio of noise to signal rho_t, a step from t to s < t of the denoiser m is

    u_s = (1 - tau) u_t + tau m(u_t) + rho_s tau^(1/2) e,     tau = 1 - rho_s^2 / rho_t^2

(Ho, Jain, Abbeel 2020, eq. 7). Chains of two denoisers have transitions of equal variance, so that

    KL(p(u_s | u_t) || q(u_s | u_t)) = tau |m_p - m_q|^2 / (2 rho_s^2) = (rho_s^-2 - rho_t^-2) |m_p - m_q|^2 / 2,

and the divergence of the chains is its sum along the chain of p (Khalafi et al. 2025, lemma 1): a bound on the divergence of
what they end at.

Alignment of a diffusion model to rewards, with the pretrained model as its measure.

    min_p KL(p || q)   subject to   E_p[r_i] >= b_i,

over what the chain of ancestral sampling can end at, with the divergence of the chains for KL (`chain`). At the multipliers
lambda the best distribution is the tilted one, q(x) exp(sum_i lambda_i r_i(x)) / Z: each step minimises

    [ KL(p || q) - sum_i lambda_i E_p[r_i] ] / (1 + sum_i lambda_i)

on samples that are drawn in it, by gradients through the chain (Khalafi, Hounie, Ding, Ribeiro 2025, algorithm 1; through the
sampler as in their code, in place of the score function of the paper's appendix). Multipliers rise with b_i - E_p[r_i].

Rewards are in standard deviations from their mean under the pretrained model, which makes levels and weights of different
rewards comparable.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.attributes import Attribute
from plumbline.models.diffusion._schedules import TrainedSchedule
from plumbline.models.distributional._multipliers import Multipliers


def ratios(schedule: TrainedSchedule, steps: int, device: torch.device) -> Float[Tensor, "T"]:
    """The ratios of noise to signal at equal steps of time, from the largest to the least."""
    alpha, sigma = schedule(torch.linspace(1, 0, steps + 1, device=device))
    return sigma / alpha


def clean_means(
    denoiser: Any, u: Float[Tensor, "B *S"], ratio: Float[Tensor, ""], conditions: dict[str, Tensor]
) -> Float[Tensor, "B *S"]:
    """m(u): the posterior mean of x given x_t = alpha_t u."""
    t = denoiser.schedule.time_of(ratio).clamp(0, 1)
    alpha, _ = denoiser.schedule(t)
    return denoiser(alpha * u, t, **conditions).mean


def stepped(
    u: Float[Tensor, "B *S"], mean: Float[Tensor, "B *S"], ratio: Float[Tensor, ""], after: Float[Tensor, ""]
) -> Float[Tensor, "B *S"]:
    """A transition from the ratio `ratio` to `after`, with its noise."""
    fraction = 1 - (after / ratio).square()
    return (1 - fraction) * u + fraction * mean + after * fraction.sqrt() * torch.randn_like(u)


def step_divergence(
    mean: Float[Tensor, "B *S"],
    other: Float[Tensor, "B *S"],
    ratio: Float[Tensor, ""],
    after: Float[Tensor, ""],
) -> Float[Tensor, " B"]:
    """The divergence, in nats, of two transitions from one point that differ in the denoiser's mean."""
    return 0.5 * (after**-2 - ratio**-2) * (mean - other).square().flatten(1).sum(1)


class Alignment(nn.Module):
    """A copy of a diffusion model, moved to where rewards reach their levels.

    Args:
        pretrained: the diffusion model that this one starts from and stays near to.
        attributes: what is measured of each sample, by the names of the rewards.
        levels: the mean of each reward to be reached, in deviations from that of the pretrained model.
        multipliers: of as many constraints as there are rewards.
        measuring: the models that attributes are measured by, by name; their weights are among its own.
        steps: steps of ancestral sampling that it is finetuned through.
        backpropagated: last steps that gradients go back through.
        calibration: samples of the pretrained model by which the rewards are put into standard deviations.
    """

    means: Tensor
    stds: Tensor
    levels: Tensor

    def __init__(
        self,
        pretrained: Any,
        *,
        attributes: Mapping[str, Attribute],
        levels: Sequence[float],
        multipliers: Multipliers,
        measuring: Mapping[str, nn.Module],
        steps: int = 20,
        backpropagated: int = 20,
        calibration: int = 512,
    ) -> None:
        super().__init__()
        self.reference = pretrained
        self.denoiser: Any = copy.deepcopy(pretrained.denoiser).requires_grad_(True)
        self.attributes = dict(attributes)
        self.measuring = nn.ModuleDict(dict(measuring))
        self.multipliers = multipliers
        self.steps, self.backpropagated, self.calibration = steps, backpropagated, calibration
        self.register_buffer("levels", torch.tensor(list(levels)))
        self.register_buffer("means", torch.zeros(len(levels)))
        self.register_buffer("stds", torch.ones(len(levels)))

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Measures the rewards of what the pretrained model draws.

        Raises:
            ValueError: a reward is the same for every sample.
        """
        chosen = torch.arange(self.calibration) % len(data["state"])
        batch = {name: tensor[chosen] for name, tensor in data.items()}
        with torch.no_grad():
            x, _ = self.drawn(batch, self.reference.denoiser)
            values = torch.stack([a.value(x) for a in self.attributes.values()])
        stds, means = torch.std_mean(values, dim=1)
        for name, std in zip(self.attributes, stds, strict=True):
            if not float(std) > 0:
                raise ValueError(f"`rewards.{name}`: the same for all that the pretrained model draws.")
        self.means.copy_(means)
        self.stds.copy_(stds)

    def space_of(self, batch: dict[str, Tensor]) -> Any:
        """The pretrained model's space."""
        return self.reference.space_of(batch)

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch."""
        return self.reference.conditions(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The Lagrangian over one plus the sum of the multipliers, on as many new samples as the batch has; its terms."""
        x, divergence = self.drawn(batch, self.denoiser)
        rewards = self.rewards(x)
        weights = self.multipliers.values
        lagrangian = (divergence - weights @ rewards) / (1 + weights.sum())
        terms = {"divergence_pretrained": divergence.detach()}
        terms |= {f"reward_{name}": r for name, r in zip(self.attributes, rewards.detach(), strict=True)}
        terms |= self.multipliers.terms(self.attributes)
        return lagrangian, terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """The dual step."""
        found = torch.stack([terms[f"reward_{name}"] for name in self.attributes])
        self.multipliers.update(self.levels - found)

    def rewards(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " m"]:
        """The mean of each reward, in deviations from that of the pretrained model."""
        return self.rewards_of(x).mean(0)

    def rewards_of(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """The rewards of each sample, in deviations from the mean of the pretrained model."""
        values = torch.stack([a.value(x) for a in self.attributes.values()], dim=1)
        return (values - self.means) / self.stds

    def drawn(
        self, batch: dict[str, Tensor], denoiser: Any
    ) -> tuple[Float[Tensor, "B *S"], Float[Tensor, ""]]:
        """New samples in the data's units, and the mean divergence of their chains from the pretrained model's."""
        space, conditions = self.space_of(batch), self.conditions(batch)
        levels = ratios(denoiser.schedule, self.steps, batch["state"].device)
        shape = space.encode(batch["state"]).shape
        u = levels[0] * torch.randn(shape, device=levels.device)
        total = torch.zeros((), device=levels.device)
        for i in range(self.steps):
            if self.steps - i > self.backpropagated:
                u = u.detach()
            mean = clean_means(denoiser, u, levels[i], conditions)
            known = clean_means(self.reference.denoiser, u, levels[i], conditions)
            total = total + step_divergence(mean, known, levels[i], levels[i + 1]).mean()
            u = stepped(u, mean, levels[i], levels[i + 1])
        return space.decode(clean_means(denoiser, u, levels[-1], conditions)), total

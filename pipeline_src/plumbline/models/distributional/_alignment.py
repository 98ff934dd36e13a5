r"""Alignment of a diffusion model to rewards, with the pretrained model as reference.

**Ancestral sampling** is a chain of Gaussian transitions. With u_t = x_t / alpha_t and the noise-to-signal
ratio rho_t, a step of the denoiser m from t to s < t is

    u_s = (1 - tau) u_t + tau m(u_t) + rho_s tau^(1/2) e,     tau = 1 - rho_s^2 / rho_t^2

(Ho, Jain, Abbeel 2020, eq. 7). The chains of two denoisers have transitions of equal variance, so that

    KL(p(u_s | u_t) || q(u_s | u_t)) = tau |m_p - m_q|^2 / (2 rho_s^2)
                                     = (rho_s^-2 - rho_t^-2) |m_p - m_q|^2 / 2,

and the divergence of the chains is the sum of these along the chain of p (Khalafi et al. 2025, lemma 1). It
is an upper bound of the divergence between the distributions of their final samples.

**Alignment** solves

    min_p KL(p || q)   subject to   E_p[r_i] >= b_i

over the models p, with the divergence of the chains as KL. At the multipliers lambda the optimal distribution
is the tilted one, q(x) exp(sum_i lambda_i r_i(x)) / Z. Each primal step minimises

    [ KL(p || q) - sum_i lambda_i E_p[r_i] ] / (1 + sum_i lambda_i)

on newly drawn samples, by gradients through the chain (Khalafi, Hounie, Ding, Ribeiro 2025, algorithm 1). The
gradients pass through the sampler as in their code, instead of the score function of the paper's appendix.
Multipliers rise with b_i - E_p[r_i].

Rewards are in standard deviations from their mean under the pretrained model, which makes levels and weights
of different rewards comparable.

Sources: https://arxiv.org/abs/2508.19104; https://arxiv.org/abs/2006.11239.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import torch
from azula.denoise import Denoiser
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.attributes import Attribute
from plumbline.models import Denoising
from plumbline.models._preparing import PreparedInBlocks, SampleBlock, first_samples
from plumbline.models.diffusion._schedules import TrainedSchedule
from plumbline.models.distributional._multipliers import Multipliers
from plumbline.samplers._models import Space


def ratios(schedule: TrainedSchedule, steps: int, device: torch.device) -> Float[Tensor, "T"]:
    """The noise-to-signal ratios at equal steps of time, in descending order."""
    alpha, sigma = schedule(torch.linspace(1, 0, steps + 1, device=device))
    return sigma / alpha


def clean_means(
    denoiser: Denoiser, u: Float[Tensor, "B *S"], ratio: Float[Tensor, ""], conditions: Mapping[str, object]
) -> Float[Tensor, "B *S"]:
    """The posterior mean m(u) of x given x_t = alpha_t u."""
    t = denoiser.schedule.time_of(ratio).clamp(0, 1)
    alpha, _ = denoiser.schedule(t)
    return denoiser(alpha * u, t, **conditions).mean


def stepped(
    u: Float[Tensor, "B *S"], mean: Float[Tensor, "B *S"], ratio: Float[Tensor, ""], after: Float[Tensor, ""]
) -> Float[Tensor, "B *S"]:
    """One noisy transition of the chain, from the noise-to-signal ratio `ratio` to `after`."""
    fraction = 1 - (after / ratio).square()
    return (1 - fraction) * u + fraction * mean + after * fraction.sqrt() * torch.randn_like(u)


def step_divergence(
    mean: Float[Tensor, "B *S"],
    other: Float[Tensor, "B *S"],
    ratio: Float[Tensor, ""],
    after: Float[Tensor, ""],
) -> Float[Tensor, " B"]:
    """The divergence, in nats, between the transitions of two denoisers from one point."""
    return 0.5 * (after**-2 - ratio**-2) * (mean - other).square().flatten(1).sum(1)


class Alignment(PreparedInBlocks, nn.Module):
    """A diffusion model finetuned until its mean rewards reach their levels.

    Source: Khalafi, Hounie, Ding, Ribeiro (NeurIPS 2025), algorithm 1, https://arxiv.org/abs/2508.19104.

    Args:
        pretrained: the diffusion model that this one starts from and stays close to.
        attributes: the attributes that the rewards measure, by the names of the rewards.
        levels: the required mean of each reward, in standard deviations from that of the pretrained model.
        multipliers: one multiplier per reward.
        measuring: the models that measure the attributes, by name; their weights become part of this model's
            state.
        steps: steps of ancestral sampling that the model is finetuned through.
        backpropagated: number of final steps that gradients pass through.
        calibration: samples of the pretrained model that set the mean and standard deviation of the rewards.

    Attributes:
        means, stds: mean and standard deviation of each reward under the pretrained model (m,).
    """

    means: Tensor
    stds: Tensor
    levels: Tensor

    def __init__(
        self,
        pretrained: Denoising,
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
        self.denoiser: Denoiser = copy.deepcopy(pretrained.denoiser).requires_grad_(True)
        self.attributes = dict(attributes)
        self.measuring = nn.ModuleDict(dict(measuring))
        self.multipliers = multipliers
        self.steps, self.backpropagated, self.calibration = steps, backpropagated, calibration
        self.register_buffer("levels", torch.tensor(list(levels)))
        self.register_buffer("means", torch.zeros(len(levels)))
        self.register_buffer("stds", torch.ones(len(levels)))

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Measures the rewards of samples of the pretrained model.

        Raises:
            ValueError: a reward has the same value for all samples.
        """
        data = first_samples(blocks, self.calibration)
        chosen = torch.arange(self.calibration) % len(data["state"])
        batch = {name: tensor[chosen] for name, tensor in data.items()}
        with torch.no_grad():
            x, _ = self.drawn(batch, self.reference.denoiser)
            values = torch.stack([a.value(x) for a in self.attributes.values()])
        stds, means = torch.std_mean(values, dim=1)
        for name, std in zip(self.attributes, stds, strict=True):
            if not float(std) > 0:
                raise ValueError(
                    f"`rewards.{name}`: all samples of the pretrained model have the same reward."
                )
        self.means.copy_(means)
        self.stds.copy_(stds)

    def space_of(self, batch: dict[str, Tensor]) -> Space:
        """The pretrained model's space."""
        return self.reference.space_of(batch)

    def conditions(self, batch: dict[str, Tensor]) -> Mapping[str, object]:
        """The denoiser's keyword arguments for a batch."""
        return self.reference.conditions(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The Lagrangian over one plus the sum of the multipliers, and its terms.

        It is evaluated on newly drawn samples, one per sample of the batch.
        """
        x, divergence = self.drawn(batch, self.denoiser)
        rewards = self.rewards(x)
        weights = self.multipliers.values
        lagrangian = (divergence - weights @ rewards) / (1 + weights.sum())
        terms = {"divergence_pretrained": divergence.detach()}
        terms |= {f"reward_{name}": r for name, r in zip(self.attributes, rewards.detach(), strict=True)}
        terms |= self.multipliers.terms(self.attributes)
        return lagrangian, terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Takes the dual step."""
        found = torch.stack([terms[f"reward_{name}"] for name in self.attributes])
        self.multipliers.update(self.levels - found)

    def rewards(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " m"]:
        """The mean of each reward, in standard deviations from that of the pretrained model."""
        return self.rewards_of(x).mean(0)

    def rewards_of(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B m"]:
        """The rewards of each sample, in standard deviations from the mean of the pretrained model."""
        values = torch.stack([a.value(x) for a in self.attributes.values()], dim=1)
        return (values - self.means) / self.stds

    def drawn(
        self, batch: dict[str, Tensor], denoiser: Denoiser
    ) -> tuple[Float[Tensor, "B *S"], Float[Tensor, ""]]:
        """New samples in the data's units, and the mean divergence of their chains from the pretrained's."""
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

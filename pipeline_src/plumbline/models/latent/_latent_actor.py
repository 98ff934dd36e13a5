r"""An actor in the latent space of an autoencoder, against a critic (Engel, Hoffman, Roberts, ICLR 2018, section 3).

The critic D(z, y) tells latent vectors of data with their labels from all others, and the actor G(z, y) moves draws of the
prior to where the critic accepts them:

    critic:  E_{q(z | x)} L_1(z, y) + E_{p(z), G(p(z), y)} L_0(z, y) + E_{q(z | x), y' != y} L_0(z, y') + w E (|grad l| - 1)^2
    actor:   E_{p(z)} [ L_1(G(z, y), y) + lambda L_dist(G(z, y), z) ]

(`critics` has L_1 and L_0, `space` L_dist). Each expectation is a mean of its own; the released notebook weighs them by the
number of rows, takes for labels that do not fit those of neighbours that may well fit, and penalises the gradient between real
vectors and real vectors. With lambda > 0 the actor learns to move latent vectors of data too, for which labels are wanted that
others have. Where levels are wanted in place of labels, the critic judges realism alone, and the shortfall of the decoded sample
is added to the actor's loss.

One optimiser serves both: at a step of the critic alone the actor has no gradient, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from plumbline.models.latent._latent_critics import gradient_penalty
from plumbline.models.latent._space import LatentSpace
from plumbline.networks import RegressorSpec
from plumbline.networks._latent import Actor, Critic


class LatentActor(nn.Module):
    """An actor G and its critic D over latent vectors (B, d) and labels (B, C).

    Args:
        autoencoder: the trained autoencoder whose latent vectors these are.
        wanted: reads the labels of a batch.
        network: the trunk of the actor and of its critic.
        distance: weight of the distance that a vector is moved.
        gradient_penalty: weight of the squared distance from one of the gradient of the critic.
        critic_steps: steps of the critic for each of the actor.
        prior_fraction: fraction of draws of the prior, not moved, among what the critic is to refuse.
        level_weight: weight of the shortfall of levels, where levels are what is wanted.

    Attributes:
        steps: steps of the critic so far.
    """

    steps: Tensor

    def __init__(
        self,
        autoencoder: Any,
        wanted: Any,
        *,
        network: RegressorSpec,
        distance: float = 0.1,
        gradient_penalty: float = 10.0,
        critic_steps: int = 10,
        prior_fraction: float = 0.1,
        level_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.wanted, self.distance, self.penalty_weight = wanted, distance, gradient_penalty
        self.critic_steps, self.prior_fraction, self.level_weight = critic_steps, prior_fraction, level_weight
        self.space = LatentSpace(autoencoder)
        self.critic = Critic(network, self.space.numbers, wanted.count, 1)
        self.actor = Actor(network, self.space.numbers, wanted.count)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the labels and the scale of distances."""
        self.space.fit(data)
        self.wanted.fit(data)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss, plus that of the actor at its steps; both, and how far the actor moves vectors."""
        real, drawn, y = (
            self.space.posterior_draws(batch),
            self.space.prior_draws(batch),
            self.wanted.of(batch),
        )
        with torch.no_grad():
            moved = self.actor(drawn, y)
        loss, terms = self._critic_loss(real, drawn, moved, y)
        terms["latent_shift"] = self.space.shift(moved, drawn).mean()
        if int(self.steps) % self.critic_steps == 0:
            with _unchanged(self.critic):
                loss = loss + self._actor_loss(drawn, y, batch)
                if self.distance:
                    others = y[torch.randperm(len(y), device=y.device)]
                    loss = loss + self._actor_loss(real, others, batch)
        return loss, terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Counts the critic's steps."""
        self.steps += 1

    def moved(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B d"]:
        """G(z, y)."""
        return self.actor(z, y)

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Draws of the prior, moved to the labels of the samples of the batch."""
        return self.actor(self.space.prior_draws(batch), self.wanted.of(batch))

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)

    def _critic_loss(
        self, real: Tensor, drawn: Tensor, moved: Tensor, y: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        from_prior = torch.rand(len(real), 1, device=real.device) < self.prior_fraction
        refused = torch.where(from_prior, drawn, moved)
        accepted, told = self.critic(real, y), self.critic(refused, y)
        penalty = gradient_penalty(self.critic, real, refused, y)
        loss = softplus(-accepted).mean() + softplus(told).mean() + self.penalty_weight * penalty
        other = y[torch.randperm(len(y), device=y.device)]
        unlike = (other != y).any(1)
        if bool(unlike.any()):
            loss = loss + softplus(self.critic(real[unlike], other[unlike])).mean()
        right = 0.5 * ((accepted > 0).float().mean() + (told < 0).float().mean())
        return loss, {"critic": loss.detach(), "critic_accuracy": right, "gradient_penalty": penalty.detach()}

    def _actor_loss(self, z: Tensor, y: Tensor, batch: dict[str, Tensor]) -> Tensor:
        moved = self.actor(z, y)
        loss = softplus(-self.critic(moved, y)).mean()
        if self.distance:
            loss = loss + self.distance * self.space.distance(moved, z).mean()
        if not self.wanted.count:
            violation = self.wanted.violation(self.space.decode(moved, batch)).mean()
            loss = loss + self.level_weight * violation
        return loss


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """A network that gradients go through, but not to."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)

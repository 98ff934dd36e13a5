r"""An actor and its critic in the latent space of an autoencoder (Engel, Hoffman, Roberts, ICLR 2018).

The critic D(z, y) distinguishes latent vectors of data with their labels from all others, and the actor
G(z, y) moves samples of the prior to where the critic accepts them:

    critic:  E_{q(z | x)} L_1(z, y) + E_{p(z), G(p(z), y)} L_0(z, y) + E_{q(z | x), y' != y} L_0(z, y')
             + w E (|grad l| - 1)^2
    actor:   E_{p(z)} [ L_1(G(z, y), y) + lambda L_dist(G(z, y), z) ]

(L_1 and L_0 are those of `_latent_critics`, L_dist that of `_space`). Each expectation is estimated by a mean
of its own. The released notebook differs in three ways: it weights the expectations by their numbers of rows,
takes the labels of neighbouring rows as wrong ones although they may be right, and penalises the gradient
between pairs of real vectors.

With lambda > 0 the actor also learns to move latent vectors of data, towards the labels of other samples.
Where levels are requested instead of labels, the critic evaluates realism only, and the violation of the
levels by the decoded sample is added to the actor's loss.

One optimiser serves both networks. At a step of the critic alone the actor has no gradient and does not
change.

Source: https://arxiv.org/abs/1711.05772, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from plumbline.models import PosteriorEncoding
from plumbline.models._labels import Levels, Wanted
from plumbline.models._on_device import Counter
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models.latent._latent_critics import gradient_penalty
from plumbline.models.latent._space import LatentSpace
from plumbline.networks import RegressorSpec
from plumbline.networks._latent import Actor, Critic


class LatentActor(PreparedInBlocks, nn.Module):
    """An actor G and its critic D over latent vectors (B, d) and labels (B, C).

    Source: Engel, Hoffman, Roberts (ICLR 2018, https://arxiv.org/abs/1711.05772).

    Args:
        autoencoder: the trained autoencoder, which defines the latent space.
        wanted: computes the labels of a batch.
        network: the trunk of the actor and of its critic.
        distance: weight of the distance by which the actor moves a vector.
        gradient_penalty: weight of the squared difference between one and the norm of the critic's gradient.
        critic_steps: steps of the critic per step of the actor.
        prior_fraction: fraction of unmoved prior samples among the vectors that the critic should refuse.
        level_weight: weight of the violation of levels, where levels are requested.

    Attributes:
        steps: number of steps of the critic so far.
    """

    steps: Tensor

    def __init__(
        self,
        autoencoder: PosteriorEncoding,
        wanted: Wanted,
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
        self.critic = Critic(network, self.space.dim, wanted.count, 1)
        self.actor = Actor(network, self.space.dim, wanted.count)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.counter = Counter()

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the labels and the scale of distances."""
        self.space.fit_blocks(blocks)
        self.wanted.fit_blocks(blocks)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The critic's loss, plus the actor's at its steps; and terms, with the mean latent shift."""
        real, drawn, y = (
            self.space.posterior_draws(batch),
            self.space.prior_draws(batch),
            self.wanted.of(batch),
        )
        with torch.no_grad():
            moved = self.actor(drawn, y)
        loss, terms = self._critic_loss(real, drawn, moved, y)
        terms["latent_shift"] = self.space.shift(moved, drawn).mean()
        if self.counter.read(self.steps) % self.critic_steps == 0:
            with _unchanged(self.critic):
                loss = loss + self._actor_loss(drawn, y, batch)
                if self.distance:
                    others = y[torch.randperm(len(y), device=y.device)]
                    loss = loss + self._actor_loss(real, others, batch)
        return loss, terms

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Counts the critic's steps."""
        self.counter.increment(self.steps)

    def moved(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B d"]:
        """The moved vectors G(z, y)."""
        return self.actor(z, y)

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples of the prior, moved towards the labels of the batch."""
        return self.actor(self.space.prior_draws(batch), self.wanted.of(batch))

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)

    def _critic_loss(
        self, real: Tensor, drawn: Tensor, moved: Tensor, y: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        from_prior = torch.rand(len(real), 1, device=real.device) < self.prior_fraction
        refused = torch.where(from_prior, drawn, moved)
        accepted_logits, refused_logits = self.critic(real, y), self.critic(refused, y)
        penalty = gradient_penalty(self.critic, real, refused, y)
        loss = softplus(-accepted_logits).mean() + softplus(refused_logits).mean()
        loss = loss + self.penalty_weight * penalty
        other = y[torch.randperm(len(y), device=y.device)]
        unlike = (other != y).any(1)
        # The mean over the samples whose labels differ from the others', without a mask that selects them.
        each = softplus(self.critic(real, other)).squeeze(-1)
        loss = loss + torch.where(unlike, each, 0.0).sum() / unlike.sum().clamp(min=1)
        right = 0.5 * ((accepted_logits > 0).float().mean() + (refused_logits < 0).float().mean())
        return loss, {"critic": loss.detach(), "critic_accuracy": right, "gradient_penalty": penalty.detach()}

    def _actor_loss(self, z: Tensor, y: Tensor, batch: dict[str, Tensor]) -> Tensor:
        moved = self.actor(z, y)
        loss = softplus(-self.critic(moved, y)).mean()
        if self.distance:
            loss = loss + self.distance * self.space.distance(moved, z).mean()
        if isinstance(self.wanted, Levels):
            violation = self.wanted.violation(self.space.decode(moved, batch)).mean()
            loss = loss + self.level_weight * violation
        return loss


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Lets gradients pass through a network without reaching its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)

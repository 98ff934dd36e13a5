r"""Critics of latent vectors of a trained autoencoder (Engel, Hoffman, Roberts, ICLR 2018, section 3).

With logits l, vectors to accept have the loss L_1 = -log sigmoid(l) = softplus(-l) and vectors to refuse the
loss L_0 = softplus(l). The **realism critic** learns to distinguish latent vectors of data from those of the
prior,

    E_{z ~ q(z | x)} L_1(z) + E_{z ~ p(z)} L_0(z) + w E (|grad l(z^)| - 1)^2,

with z^ on the line between a vector of data and one of the prior. The **attribute critic** learns the labels
of the encoded sample, by a binary cross-entropy for each label.

Source: https://arxiv.org/abs/1711.05772.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from plumbline.models import PosteriorEncoding
from plumbline.models._labels import Wanted
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models.latent._space import LatentSpace
from plumbline.networks import RegressorSpec
from plumbline.networks._latent import Critic


class LatentCritics(PreparedInBlocks, nn.Module):
    """A realism critic and an attribute critic of latent vectors (B, d).

    Source: Engel, Hoffman, Roberts (ICLR 2018, https://arxiv.org/abs/1711.05772).

    Args:
        autoencoder: the trained autoencoder, which defines the latent space.
        wanted: computes the labels of a batch.
        network: the trunk of each critic.
        gradient_penalty: weight of the squared difference between one and the norm of the realism critic's
            gradient.
    """

    def __init__(
        self,
        autoencoder: PosteriorEncoding,
        wanted: Wanted,
        *,
        network: RegressorSpec,
        gradient_penalty: float = 10.0,
    ) -> None:
        super().__init__()
        self.wanted, self.penalty_weight = wanted, gradient_penalty
        self.space = LatentSpace(autoencoder)
        self.realism = Critic(network, self.space.dim, 0, 1)
        self.attributes = Critic(network, self.space.dim, 0, wanted.count) if wanted.count else None

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the labels and the scale of distances."""
        self.space.fit_blocks(blocks)
        self.wanted.fit_blocks(blocks)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of both critics' losses, and terms such as their accuracies."""
        real, drawn = self.space.posterior_draws(batch), self.space.prior_draws(batch)
        accepted, refused = unlabelled(self.realism, real), unlabelled(self.realism, drawn)
        penalty = gradient_penalty(self.realism, real, drawn, real.new_zeros(len(real), 0))
        loss = softplus(-accepted).mean() + softplus(refused).mean() + self.penalty_weight * penalty
        right = 0.5 * ((accepted > 0).float().mean() + (refused < 0).float().mean())
        terms = {"realism_accuracy": right, "gradient_penalty": penalty.detach()}
        if self.attributes is not None:
            y = self.wanted.of(batch)
            logits = unlabelled(self.attributes, real)
            entropy = binary_cross_entropy_with_logits(logits, y)
            loss = loss + entropy
            terms |= {"attribute_accuracy": ((logits > 0) == (y > 0.5)).float().mean()}
            terms |= {"attribute_entropy": entropy.detach()}
        return loss, terms

    def unrealistic(self, z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """L_1 of the realism critic for each vector."""
        return softplus(-unlabelled(self.realism, z)[:, 0])

    def mislabelled(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """The cross-entropy of the requested labels, summed over labels; zero without labels."""
        if self.attributes is None:
            return z.new_zeros(len(z))
        logits = unlabelled(self.attributes, z)
        return binary_cross_entropy_with_logits(logits, y, reduction="none").sum(1)

    def has_labels(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """Whether each vector has all requested labels by the attribute critic, each more likely than not."""
        assert self.attributes is not None
        logits = unlabelled(self.attributes, z)
        return ((logits > 0) == (y > 0.5)).all(1).float()


def unlabelled(critic: Critic, z: Float[Tensor, "B d"]) -> Float[Tensor, "B L"]:
    """The logits of a critic that takes no labels."""
    return critic(z, z.new_zeros(len(z), 0))


def gradient_penalty(
    critic: Callable[[Tensor, Tensor], Tensor],
    real: Float[Tensor, "B d"],
    other: Float[Tensor, "B d"],
    y: Float[Tensor, "B C"],
) -> Float[Tensor, ""]:
    """E (|grad_z l(z, y)| - 1)^2 on lines between vectors to accept and to refuse.

    Source: Gulrajani et al. (2017), https://arxiv.org/abs/1704.00028.
    """
    fraction = torch.rand(len(real), 1, device=real.device)
    with torch.enable_grad():
        between = (fraction * real + (1 - fraction) * other).detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(critic(between, y).sum(), between, create_graph=True)
    return (slope.square().sum(1).add(1e-12).sqrt() - 1).square().mean()

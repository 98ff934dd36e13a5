r"""Actor and critic on latent vectors, conditioned on labels.

Labels enter through a linear embedding, which is left out if there are no labels. The actor moves a latent
vector towards the region in which its labels hold, by a gated residual:

    [dz, g] = trunk(z, y),    z' = (1 - sigmoid(g)) z + sigmoid(g) dz

(Engel, Hoffman, Roberts, ICLR 2018, appendix, https://arxiv.org/abs/1711.05772).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import RegressorSpec


class LabelledInput(nn.Module):
    """Linear embedding of labels (B, C), as wide as the layers that take it as input.

    Attributes:
        dim: number of dimensions that it adds to the input; zero without labels.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(labels, width) if labels else None
        self.dim = width if labels else 0

    def forward(self, y: Float[Tensor, "B C"]) -> list[Float[Tensor, "B W"]]:
        """The embedded labels; an empty list without labels."""
        return [] if self.embedding is None else [self.embedding(y)]


class Actor(nn.Module):
    """Maps latent vectors (B, d) and labels (B, C) to latent vectors (B, d); C may be zero.

    Args:
        trunk: the layers before the gate.
        latent: d.
        labels: C.
    """

    def __init__(self, trunk: RegressorSpec, latent: int, labels: int) -> None:
        super().__init__()
        self.labelled = LabelledInput(labels, trunk.features())
        self.trunk = trunk.build(latent + self.labelled.dim)
        self.head = nn.Linear(trunk.features(), 2 * latent)

    def forward(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B d"]:
        """The moved vectors."""
        moved, gate = self.head(self.trunk(torch.cat([z, *self.labelled(y)], dim=1))).chunk(2, dim=1)
        return z + gate.sigmoid() * (moved - z)


class Critic(nn.Module):
    """Maps latent vectors (B, d) and labels (B, C) to logits (B, outputs); C may be zero.

    Args:
        trunk: the layers before the logits.
        latent: d.
        labels: C.
        outputs: number of logits.
    """

    def __init__(self, trunk: RegressorSpec, latent: int, labels: int, outputs: int) -> None:
        super().__init__()
        self.labelled = LabelledInput(labels, trunk.features())
        self.trunk = trunk.build(latent + self.labelled.dim)
        self.head = nn.Linear(trunk.features(), outputs)

    def forward(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B L"]:
        """The logits."""
        return self.head(self.trunk(torch.cat([z, *self.labelled(y)], dim=1)))

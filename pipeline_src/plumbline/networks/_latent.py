r"""Labels as an input beside others: a linear embedding, which is not there where there are no labels.

An actor: it moves a latent vector to where labels hold, by a gated residual (Engel, Hoffman, Roberts, ICLR 2018, appendix).

[dz, g] = trunk(z, y),    z' = (1 - sigmoid(g)) z + sigmoid(g) dz.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import RegressorSpec


class LabelledInput(nn.Module):
    """The embedding of labels (B, C), as wide as the layers that read it.

    Attributes:
        numbers: numbers that it adds to the input, none for no labels.
    """

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(labels, width) if labels else None
        self.dim = width if labels else 0

    def forward(self, y: Float[Tensor, "B C"]) -> list[Float[Tensor, "B W"]]:
        """The embedded labels, or nothing."""
        return [] if self.embedding is None else [self.embedding(y)]


class Actor(nn.Module):
    """Latent vectors (B, d) from latent vectors and labels (B, C); C may be zero.

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
    """Logits (B, outputs) of latent vectors (B, d) and labels (B, C); C may be zero.

    Args:
        trunk: the layers before the logits.
        latent: d.
        labels: C.
        outputs: logits.
    """

    def __init__(self, trunk: RegressorSpec, latent: int, labels: int, outputs: int) -> None:
        super().__init__()
        self.labelled = LabelledInput(labels, trunk.features())
        self.trunk = trunk.build(latent + self.labelled.dim)
        self.head = nn.Linear(trunk.features(), outputs)

    def forward(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B L"]:
        """The logits."""
        return self.head(self.trunk(torch.cat([z, *self.labelled(y)], dim=1)))

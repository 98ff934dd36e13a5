"""A critic: logits of a latent vector, given labels or not."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import RegressorSpec
from plumbline.networks.latent.labelled import LabelledInput


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
        self.trunk = trunk.build(latent + self.labelled.numbers)
        self.head = nn.Linear(trunk.features(), outputs)

    def forward(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B L"]:
        """The logits."""
        return self.head(self.trunk(torch.cat([z, *self.labelled(y)], dim=1)))

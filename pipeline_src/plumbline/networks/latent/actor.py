r"""An actor: it moves a latent vector to where labels hold, by a gated residual (Engel, Hoffman, Roberts, ICLR 2018, appendix).

[dz, g] = trunk(z, y),    z' = (1 - sigmoid(g)) z + sigmoid(g) dz.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.networks import RegressorSpec
from plumbline.networks.latent.labelled import LabelledInput


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
        self.trunk = trunk.build(latent + self.labelled.numbers)
        self.head = nn.Linear(trunk.features(), 2 * latent)

    def forward(self, z: Float[Tensor, "B d"], y: Float[Tensor, "B C"]) -> Float[Tensor, "B d"]:
        """The moved vectors."""
        moved, gate = self.head(self.trunk(torch.cat([z, *self.labelled(y)], dim=1))).chunk(2, dim=1)
        return z + gate.sigmoid() * (moved - z)

r"""Gated message passing on graphs of atoms.

From Li et al. (ICLR 2016), https://arxiv.org/abs/1511.05493, as in the charge model of Raza, Sturluson, Simon
and Fern (2020). Each atom starts with an embedding of its element, padded with zeros to the hidden size.
Layer l sends messages along bonds in both directions and updates the features with a gated recurrent unit
that all layers share:

    m_i = sum_{j bonded to i} f_l(r_ij) * W_l h_j,    h_i <- GRU(m_i, h_i).

The filter f_l is 1, as published, or a linear function of Gaussians of the bond length, similar to Schuett et
al. (2017), https://arxiv.org/abs/1706.08566.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

# Range of bond lengths that the Gaussians cover, in angstrom.
SHORTEST, LONGEST = 0.7, 3.2


class FilteredSum(MessagePassing):
    """sum_j f(r_ij) * x_j over the neighbours j of each atom i."""

    def __init__(self) -> None:
        super().__init__(aggr="add")

    def forward(
        self, x: Float[Tensor, "N H"], edges: Int[Tensor, "2 E"], weight: Float[Tensor, "E H"] | None
    ) -> Float[Tensor, "N H"]:
        """The sum over neighbours, for each atom; without `weight`, f is one."""
        return self.propagate(edges, x=x, weight=weight)

    def message(self, x_j: Tensor, weight: Tensor | None) -> Tensor:
        return x_j if weight is None else weight * x_j


class GatedGraphNetwork(nn.Module):
    """Features of each atom from elements, bonds and bond lengths.

    Args:
        elements: number of elements.
        element_features: features in the embedding of an element; the rest of `hidden` starts at zero.
        hidden: features per atom.
        layers: number of message-passing layers.
        radial: number of Gaussians of the bond length that filter the messages; zero for messages that do not
            depend on it.
    """

    centres: Tensor

    def __init__(
        self, elements: int, *, element_features: int = 20, hidden: int = 50, layers: int = 6, radial: int = 0
    ) -> None:
        super().__init__()
        self.padding = hidden - element_features
        self.embedding = nn.Embedding(elements, element_features)
        self.weights = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(layers))
        self.filters = nn.ModuleList(nn.Linear(radial, hidden) for _ in range(layers if radial else 0))
        self.register_buffer("centres", torch.linspace(SHORTEST, LONGEST, max(radial, 2)))
        self.update = nn.GRUCell(hidden, hidden)
        self.sum = FilteredSum()

    def forward(
        self, species: Int[Tensor, " N"], bonds: Int[Tensor, "2 E"], lengths: Float[Tensor, " E"]
    ) -> Float[Tensor, "N F"]:
        """The features of each atom; each bond is listed once and used in both directions."""
        edges = torch.cat([bonds, bonds.flip(0)], dim=1)
        h = nn.functional.pad(self.embedding(species).sigmoid(), (0, self.padding))
        filters = self._filters(lengths)
        for linear, weight in zip(self.weights, filters, strict=True):
            h = self.update(self.sum(linear(h), edges, weight), h)
        return h.relu()

    def _filters(self, lengths: Float[Tensor, " E"]) -> list[Tensor | None]:
        """f_l of each layer, for both directions of each bond; None if f_l is one."""
        if not len(self.filters):
            return [None] * len(self.weights)
        width = self.centres[1] - self.centres[0]
        radial = torch.exp(-0.5 * ((lengths[:, None] - self.centres) / width).square())
        return [linear(radial).repeat(2, 1) for linear in self.filters]

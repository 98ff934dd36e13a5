"""Padded frameworks as one ragged batch: atoms in a row, bonds by their numbers in that row. No loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.linalg.maps import GroupSum
from plumbline.models._output_specs import Supervision
from plumbline.models._outputs import supervised_loss
from plumbline.networks._blocks import GaussianHead


@dataclass(frozen=True)
class RaggedBatch:
    """B frameworks of N atoms and E bonds in all."""

    present: Bool[Tensor, "B A"]
    species: Int[Tensor, " N"]
    bonds: Int[Tensor, "2 E"]
    lengths: Float[Tensor, " E"]
    graph: Int[Tensor, " N"]

    def gather(self, padded: Tensor) -> Tensor:
        """From (B, A) to (N,)."""
        return padded[self.present]

    def scatter(self, values: Tensor) -> Tensor:
        """From (N,) to (B, A), zero where there is no atom."""
        return values.new_zeros(self.present.shape).masked_scatter(self.present, values)

    def totals(self, constraint: Any) -> LinearEquality | None:
        """The total of each framework, from an equality that gives it for padded samples; None from None.

        Raises:
            ValueError: the equality is not a plain sum over all atoms.
        """
        if constraint is None:
            return None
        rows = constraint.linear_map
        if not isinstance(rows, GroupSum) or rows.rows != 1 or rows.weights is not None:
            raise ValueError(
                "a law of frameworks needs the sum over all atoms: use a constraint of the kind `sum`."
            )
        target = constraint.target.to(self.lengths.device).flatten().expand(len(self.present))
        return LinearEquality(GroupSum(self.graph), target)


def ragged(batch: dict[str, Tensor]) -> RaggedBatch:
    """The ragged form of a padded batch.

    Raises:
        ValueError: a bond has an end that is no atom of its framework.
    """
    present = batch["species"] >= 0
    counts = present.sum(1)
    bonds = batch["bonds"].long()
    bonded = (bonds >= 0).any(-1)
    outside = (bonded & ((bonds < 0) | (bonds >= counts[:, None, None])).any(-1)).any(1)
    if bool(outside.any()):
        raise ValueError(
            f"a bond of framework {int(outside.nonzero()[0])} of the batch has an end that is no atom of it."
        )
    first = counts.cumsum(0) - counts
    ends = (bonds + first[:, None, None])[bonded]
    return RaggedBatch(
        present,
        batch["species"][present].long(),
        ends.mT.contiguous(),
        batch["bond_length"][bonded],
        torch.arange(len(counts), device=counts.device).repeat_interleave(counts),
    )


def told_of(distribution: Any, graphs: RaggedBatch, truth: Tensor, *, feasible: bool) -> dict[str, Tensor]:
    """A draw, mean and deviation of each atom, padded, and the log-likelihood of each framework if it is feasible."""
    told = {
        "state": graphs.scatter(distribution.sample()),
        "predicted_mean": graphs.scatter(distribution.mean),
        "predicted_std": graphs.scatter(distribution.variance.sqrt()),
    }
    if feasible:
        told["log_likelihood"] = distribution.log_prob_by_row(graphs.gather(truth))
    return told


class NodeRegression(nn.Module):
    """The law of a number an atom, (B, A) padded, given elements and bonds.

    Args:
        elements: number of elements.
        network: makes a network from so many elements to features of each atom.
        features: how many features it gives.
        by: law, objective and penalty.
        constraint: the sum over all atoms, or None.
        initial_std: standard deviation at the start.
        min_std: its floor.
    """

    def __init__(
        self,
        elements: int,
        *,
        network: Callable[[int], nn.Module],
        features: int,
        by: Supervision,
        constraint: Any,
        initial_std: float = 0.05,
        min_std: float = 1e-3,
    ) -> None:
        super().__init__()
        self.by, self.constraint = by, constraint
        self.network = network(elements)
        self.head = GaussianHead(features, 1, initial_std, min_std)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Nothing to fit: charges are numbers of order one in their own unit."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss a mean atom, and its terms."""
        graphs = ragged(batch)
        mean, variance = self._mean_and_variance(graphs)
        target = graphs.gather(batch["state"])
        loss, terms = supervised_loss(self.by, mean, variance, graphs.totals(self.constraint), target)
        return loss / len(target), terms

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A draw, mean and deviation of each atom, and the log-likelihood of each framework."""
        graphs = ragged(batch)
        mean, variance = (t.double() for t in self._mean_and_variance(graphs))
        distribution = self.by.likelihood.distribution(mean, variance, graphs.totals(self.constraint))
        return told_of(distribution, graphs, batch["state"], feasible=self.by.likelihood.constrains())

    def _mean_and_variance(self, graphs: RaggedBatch) -> tuple[Tensor, Tensor]:
        features = self.network(graphs.species, graphs.bonds, graphs.lengths.to(torch.get_default_dtype()))
        mean, variance = self.head(features, variance_apart=self.by.variance_apart)
        return mean.squeeze(-1), variance.squeeze(-1)

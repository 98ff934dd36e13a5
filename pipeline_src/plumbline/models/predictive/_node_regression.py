"""Regression of one value per atom, with padded frameworks as one ragged batch.

A ragged batch concatenates the atoms of all frameworks; bonds refer to their positions in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions import HasRowDensity, PredictiveDistribution
from plumbline.linalg.checks import require
from plumbline.linalg.maps import GroupSum, group_sum
from plumbline.models._on_device import WithConstraints
from plumbline.models._output_specs import Supervision
from plumbline.models._outputs import supervised_loss
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.networks._blocks import GaussianHead


@dataclass(frozen=True)
class RaggedBatch:
    """B frameworks with N atoms and E bonds in total.

    Attributes:
        present: whether each entry of the padded arrays is an atom.
        species: the index of each atom's element.
        bonds: the positions of both ends of each bond.
        lengths: the length of each bond.
        graph: the index of each atom's framework.
    """

    present: Bool[Tensor, "B A"]
    species: Int[Tensor, " N"]
    bonds: Int[Tensor, "2 E"]
    lengths: Float[Tensor, " E"]
    graph: Int[Tensor, " N"]

    def gather(self, padded: Tensor) -> Tensor:
        """From padded (B, A) to ragged (N,)."""
        return padded[self.present]

    def scatter(self, values: Tensor) -> Tensor:
        """From ragged (N,) to padded (B, A), zero where there is no atom."""
        return values.new_zeros(self.present.shape).masked_scatter(self.present, values)

    def totals(self, constraint: LinearEqualityConstraint | None) -> LinearEquality | None:
        """The equality on the total of each framework, from that on padded samples; None from None.

        Raises:
            ValueError: the equality is not an unweighted sum over all atoms.
        """
        if constraint is None:
            return None
        rows = constraint.linear_map if isinstance(constraint, LinearEquality) else None
        if not isinstance(rows, GroupSum) or rows.rows != 1 or rows.weights is not None:
            raise ValueError(
                "a distribution of frameworks needs the sum over all atoms: "
                "use a constraint of the kind `sum`."
            )
        assert isinstance(constraint, LinearEquality) and constraint.target is not None
        target = constraint.target.flatten().expand(len(self.present))
        return LinearEquality(group_sum(self.graph, None, len(self.present)), target)


def ragged(batch: SampleBlock) -> RaggedBatch:
    """The ragged form of a padded batch.

    Raises:
        ValueError: an end of a bond is not an atom of its framework.
    """
    present = batch["species"] >= 0
    counts = present.sum(1)
    bonds = batch["bonds"].long()
    bonded = (bonds >= 0).any(-1)
    outside = (bonded & ((bonds < 0) | (bonds >= counts[:, None, None])).any(-1)).any(1)
    require(
        ~outside.any(),
        lambda: ValueError(
            f"a bond of framework {int(outside.nonzero()[0])} of the batch has an end that is not one of its "
            "atoms."
        ),
        "both ends of each bond are atoms of its framework",
    )
    first = counts.cumsum(0) - counts
    ends = (bonds + first[:, None, None])[bonded]
    return RaggedBatch(
        present,
        batch["species"][present].long(),
        ends.mT.contiguous(),
        batch["bond_length"][bonded],
        present.nonzero()[:, 0],
    )


def predictions_of(
    distribution: PredictiveDistribution, graphs: RaggedBatch, truth: Tensor, *, feasible: bool
) -> dict[str, Tensor]:
    """A sample, mean and standard deviation per atom, padded, and the log-likelihood per framework.

    Args:
        distribution: the distribution of the atoms' values (N,).
        graphs: the ragged batch.
        truth: the true values, padded (B, A).
        feasible: whether the distribution is on the feasible set; if not, there is no log-likelihood.
    """
    predictions = {
        "state": graphs.scatter(distribution.sample()),
        "predicted_mean": graphs.scatter(distribution.mean),
        "predicted_std": graphs.scatter(distribution.variance.sqrt()),
    }
    if feasible:
        assert isinstance(distribution, HasRowDensity)
        predictions["log_likelihood"] = distribution.log_prob_by_row(graphs.gather(truth))
    return predictions


class NodeRegression(PreparedInBlocks, WithConstraints):
    """The distribution of one value per atom, (B, A) padded, given elements and bonds.

    Args:
        elements: number of elements.
        network: builds a network from a number of elements to features of each atom.
        features: number of features.
        by: likelihood, objective and penalty.
        constraint: the sum over all atoms, or None.
        initial_std: standard deviation at initialisation.
        min_std: lower bound of the standard deviation.
    """

    def __init__(
        self,
        elements: int,
        *,
        network: Callable[[int], nn.Module],
        features: int,
        by: Supervision,
        constraint: LinearEqualityConstraint | None,
        initial_std: float = 0.05,
        min_std: float = 1e-3,
    ) -> None:
        super().__init__()
        self.by, self.constraint = by, constraint
        self.network = network(elements)
        self.head = GaussianHead(features, 1, initial_std, min_std)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss per atom, and its terms."""
        graphs = ragged(batch)
        mean, variance = self._mean_and_variance(graphs)
        target = graphs.gather(batch["state"])
        loss, terms = supervised_loss(self.by, mean, variance, graphs.totals(self.constraint), target)
        return loss / len(target), terms

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A sample, mean and standard deviation per atom, and the log-likelihood per framework."""
        graphs = ragged(batch)
        mean, variance = (t.double() for t in self._mean_and_variance(graphs))
        distribution = self.by.likelihood.distribution(mean, variance, graphs.totals(self.constraint))
        return predictions_of(distribution, graphs, batch["state"], feasible=self.by.likelihood.constrains())

    def _mean_and_variance(self, graphs: RaggedBatch) -> tuple[Tensor, Tensor]:
        features = self.network(graphs.species, graphs.bonds, graphs.lengths.to(torch.get_default_dtype()))
        mean, variance = self.head(features, variance_apart=self.by.variance_apart)
        return mean.squeeze(-1), variance.squeeze(-1)

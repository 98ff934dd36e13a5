"""Mean and variance of the atomic values of each element, fitted in closed form."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.models._moments import RunningMoments
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models.predictive._node_regression import predictions_of, ragged

# Lower bound of the variance of an element, as a fraction of the variance over all atoms: an element that
# occurs once has none of its own.
SMALLEST_FRACTION = 1e-4


class ElementMeans(PreparedInBlocks, WithConstraints):
    """The distribution of one value per atom, (B, A) padded, given the elements alone.

    Args:
        elements: number of elements.
        likelihood: turns means and variances into a distribution.
        constraint: the sum over all atoms.
        by_element: whether each element has its own mean; if not, all atoms share one.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self,
        elements: int,
        *,
        likelihood: LikelihoodSpec,
        constraint: LinearEqualityConstraint,
        by_element: bool = True,
    ) -> None:
        super().__init__()
        self.likelihood, self.constraint, self.by_element = likelihood, constraint, by_element
        self.register_buffer("mean", torch.zeros(elements, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(elements, dtype=torch.float64))

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits means and variances; an element that the data lacks gets those of all atoms."""
        overall = RunningMoments()
        each = [RunningMoments() for _ in self.mean] if self.by_element else []
        for block in blocks:
            graphs = ragged(block)
            values = graphs.gather(block["state"])
            overall.add(values)
            for element, moments in enumerate(each):
                moments.add(values[graphs.species == element])
        variance = overall.squares / overall.count
        self.mean.fill_(overall.mean)
        self.variance.fill_(variance)
        for element, moments in enumerate(each):
            if moments.count:
                self.mean[element] = moments.mean
                self.variance[element] = moments.squares / moments.count
        self.variance.clamp_(min=SMALLEST_FRACTION * float(variance))

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A sample, mean and standard deviation per atom, and the log-likelihood per framework."""
        graphs = ragged(batch)
        distribution = self.likelihood.distribution(
            self.mean[graphs.species], self.variance[graphs.species], graphs.totals(self.constraint)
        )
        return predictions_of(distribution, graphs, batch["state"], feasible=self.likelihood.constrains())

"""Mean and variance of the atomic values of each element, fitted in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from plumbline.constraints import LinearEqualityConstraint
from plumbline.distributions.likelihoods import LikelihoodSpec
from plumbline.models._on_device import WithConstraints
from plumbline.models.predictive._node_regression import predictions_of, ragged

# Lower bound of the variance of an element, as a fraction of the variance over all atoms: an element that
# occurs once has none of its own.
SMALLEST_FRACTION = 1e-4


class ElementMeans(WithConstraints):
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

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits means and variances; an element that the data lacks gets those of all atoms."""
        graphs = ragged(data)
        values = graphs.gather(data["state"]).double()
        overall = torch.var_mean(values, correction=0)
        if not self.by_element:
            self.variance.fill_(overall[0])
            self.mean.fill_(overall[1])
            return
        count = torch.bincount(graphs.species, minlength=len(self.mean))
        mean = torch.bincount(graphs.species, values, len(self.mean)) / count.clamp(min=1)
        residual = (values - mean[graphs.species]).square()
        variance = torch.bincount(graphs.species, residual, len(self.mean)) / count.clamp(min=1)
        self.mean.copy_(torch.where(count > 0, mean, overall[1]))
        self.variance.copy_(
            torch.where(count > 0, variance, overall[0]).clamp(min=SMALLEST_FRACTION * float(overall[0]))
        )

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A sample, mean and standard deviation per atom, and the log-likelihood per framework."""
        graphs = ragged(batch)
        distribution = self.likelihood.distribution(
            self.mean[graphs.species], self.variance[graphs.species], graphs.totals(self.constraint)
        )
        return predictions_of(distribution, graphs, batch["state"], feasible=self.likelihood.constrains())

"""Charges of frameworks: message passing, Gaussian head, law under the total of each framework."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from plumbline.models.node_regression import NodeRegressionSpec
from plumbline.models.node_regression.ragged import RaggedBatch, ragged, told_of
from plumbline.models.outputs.objective import law_loss
from plumbline.networks._blocks import GaussianHead


class NodeRegression(nn.Module):
    """The law of a number an atom, (B, A) padded, given elements and bonds."""

    def __init__(self, spec: NodeRegressionSpec, elements: int, constraint: Any) -> None:
        super().__init__()
        self.spec, self.constraint = spec, constraint
        self.network = spec.network.build(elements)
        self.head = GaussianHead(spec.network.features(), 1, spec.initial_deviation, spec.smallest_deviation)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Nothing to fit: charges are numbers of order one in their own unit."""
        del data

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss a mean atom, and its terms."""
        graphs = ragged(batch)
        mean, variance = self._mean_and_variance(graphs)
        target = graphs.gather(batch["state"])
        loss, terms = law_loss(self.spec, mean, variance, graphs.totals(self.constraint), target)
        return loss / len(target), terms

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A draw, mean and deviation of each atom, and the log-likelihood of each framework."""
        graphs = ragged(batch)
        mean, variance = (t.double() for t in self._mean_and_variance(graphs))
        law = self.spec.law.law(mean, variance, graphs.totals(self.constraint))
        return told_of(law, graphs, batch["state"], feasible=self.spec.law.constrains())

    def _mean_and_variance(self, graphs: RaggedBatch) -> tuple[Tensor, Tensor]:
        features = self.network(graphs.species, graphs.bonds, graphs.lengths.to(torch.get_default_dtype()))
        mean, variance = self.head(features, variance_apart=self.spec.variance_apart())
        return mean.squeeze(-1), variance.squeeze(-1)

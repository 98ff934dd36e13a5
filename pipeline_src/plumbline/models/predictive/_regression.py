"""Probabilistic regression: perceptron, Gaussian head, law on the feasible set."""

from __future__ import annotations

import math

from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._outputs import FeasibleOutput
from plumbline.models._spaces import StandardisedCondition
from plumbline.models.predictive.regression import RegressionSpec
from plumbline.networks import SampleShape
from plumbline.networks._blocks import GaussianHead


class Regression(nn.Module):
    """The law of a state (B, *S) given its condition (B, C).

    Raises:
        ValueError: the dataset has no condition to predict from.
    """

    def __init__(self, spec: RegressionSpec, sample: SampleShape, constraint: Constraint | None) -> None:
        super().__init__()
        self.spec = spec
        if not sample.condition:
            raise ValueError("a regression predicts from a `condition`, which this dataset does not have.")
        self.condition = StandardisedCondition(sample.condition)
        self.network = spec.network.build(sample.condition)
        self.head = GaussianHead(
            spec.network.features(),
            math.prod(sample.shape),
            spec.initial_deviation,
            spec.smallest_deviation,
        )
        self.output = FeasibleOutput(spec.law, spec.scaling, sample.shape, constraint)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the scaling of states and conditions."""
        self.output.fit(data["state"])
        self.condition.fit(data)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's mean over the batch, and its terms."""
        each, terms = self.output.loss(self.spec, *self._mean_and_variance(batch), batch)
        return each.mean(), terms

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A draw, mean, deviation and log-likelihood of each state, in the data's units."""
        return self.output.predict(*self._mean_and_variance(batch), batch)

    def _mean_and_variance(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        features = self.network(self.condition.arguments(batch)["condition"])
        return self.head(features, variance_apart=self.spec.variance_apart())

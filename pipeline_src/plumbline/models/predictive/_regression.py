"""Probabilistic regression: a network, a Gaussian head, and a likelihood, constrained or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.models._output_specs import Supervision
from plumbline.models._outputs import FeasibleOutput
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import Scaling, StandardisedCondition
from plumbline.networks import SampleShape
from plumbline.networks._blocks import GaussianHead


class Regression(PreparedInBlocks, nn.Module):
    """The distribution of a state (B, *S) given its condition (B, C).

    Args:
        sample: the shape of states, and C.
        network: builds a network from C inputs to features.
        features: number of features.
        by: likelihood, objective and penalty.
        scaling: how states are scaled.
        constraint: the equality, or None.
        initial_std: standard deviation at initialisation, in the scaled space.
        min_std: lower bound of the standard deviation.

    Raises:
        ValueError: the dataset has no condition to predict from.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        network: Callable[[int], nn.Module],
        features: int,
        by: Supervision,
        scaling: Scaling,
        constraint: LinearEqualityConstraint | None,
        initial_std: float = 0.05,
        min_std: float = 1e-3,
    ) -> None:
        super().__init__()
        self.by = by
        if not sample.condition and not sample.field:
            raise ValueError("a regression predicts from a `condition`, which this dataset does not have.")
        self.condition = StandardisedCondition(sample.condition, field=sample.field, shared=sample.shared)
        self.network = network(sample.condition or math.prod(sample.field))
        self.head = GaussianHead(features, math.prod(sample.shape), initial_std, min_std)
        self.output = FeasibleOutput(by.likelihood, sample.shape, scaling=scaling, constraint=constraint)

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scaling of states and conditions."""
        self.output.fit_blocks(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's mean over the batch, and its terms."""
        each, terms = self.output.loss(self.by, *self._mean_and_variance(batch), batch)
        return each.mean(), terms

    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A sample, mean, standard deviation and log-likelihood of each state, in the data's units."""
        return self.output.predict(*self._mean_and_variance(batch), batch)

    def _mean_and_variance(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        given = self.condition.arguments(batch)
        features = self.network(given["condition"] if "condition" in given else given["field"].flatten(1))
        return self.head(features, variance_apart=self.by.variance_apart)

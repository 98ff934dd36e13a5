"""Probabilistic regression of one value per atom, such as charges, under the total of each graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext
from plumbline.models._output_specs import SupervisedOutputSpec
from plumbline.networks import AnyGraphNetwork

if TYPE_CHECKING:
    from plumbline.models.predictive._node_regression import NodeRegression


class NodeRegressionSpec(SupervisedOutputSpec):
    """Message passing gives mean and variance per atom; a likelihood may enforce the frameworks' totals."""

    kind: Literal["node_regression"] = "node_regression"
    network: AnyGraphNetwork
    """Network from elements and bonds to features of each atom."""

    def build(self, on: BuildContext) -> NodeRegression:
        from plumbline.datasets._graphs import elements_of
        from plumbline.models.predictive._node_regression import NodeRegression

        return NodeRegression(
            elements_of(on.example),
            network=self.network.build,
            features=self.network.features(),
            by=self.supervision(),
            constraint=on.linear(self.constraint),
            initial_std=self.initial_std,
            min_std=self.min_std,
        )

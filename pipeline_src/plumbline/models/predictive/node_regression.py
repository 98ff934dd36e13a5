"""Probabilistic regression of a number an atom under the sum of each graph: charges of neutral frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext
from plumbline.models._output_specs import SupervisedOutputSpec
from plumbline.networks import AnyGraphNetwork

if TYPE_CHECKING:
    from plumbline.models.predictive._node_regression import NodeRegression


class NodeRegressionSpec(SupervisedOutputSpec):
    """Message passing gives a mean and a variance an atom; a law puts each framework on its total."""

    kind: Literal["node_regression"] = "node_regression"
    network: AnyGraphNetwork
    """The network, from elements and bonds to features of each atom."""

    def build(self, on: BuildContext) -> NodeRegression:
        from plumbline.datasets._graphs import elements_of
        from plumbline.models.predictive._node_regression import NodeRegression

        return NodeRegression(
            elements_of(on.example),
            network=self.network.build,
            features=self.network.features(),
            by=self.supervision(),
            constraint=on.constraint(self.constraint),
            initial_std=self.initial_std,
            min_std=self.min_std,
        )

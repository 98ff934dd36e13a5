"""Probabilistic regression of a number an atom under the sum of each graph: charges of neutral frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline.constraints import Constraint
from plumbline.models.outputs import SupervisedLawSpec
from plumbline.networks import AnyGraphNetwork

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.models.node_regression.model import NodeRegression


class NodeRegressionSpec(SupervisedLawSpec):
    """Message passing gives a mean and a variance an atom; a law puts each framework on its total."""

    kind: Literal["node_regression"] = "node_regression"
    network: AnyGraphNetwork
    """The network, from elements and bonds to features of each atom."""

    def build(self, example: xr.Dataset, constraints: Mapping[str, Constraint]) -> NodeRegression:
        from plumbline.models.node_regression.model import NodeRegression

        constraint = constraints[self.constraint] if self.constraint else None
        return NodeRegression(self, example.sizes["element"], constraint)

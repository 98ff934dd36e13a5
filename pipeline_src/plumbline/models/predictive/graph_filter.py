"""Forecasts by graph filters on several kinds of graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, ModelSpec, Predictive
from plumbline.networks import AnyFilter
from plumbline.networks.linear_filter import LinearFilterSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.predictive._graph_filter import GraphFilter


class GraphFilterSpec(ModelSpec):
    """Forecasts a state some steps ahead by filters on a graph over the nodes, separately for each system.

    Source: Khalafi, Sihag, Ribeiro (ICML 2024), https://arxiv.org/abs/2310.10791.
    """

    kind: Literal["graph_filter"] = "graph_filter"
    systems: int = key(ge=1, default=10)
    """Number of systems in the dataset; each has its own graph and weights."""
    graph: Literal["cross_covariance", "covariance", "identity", "random", "shuffled", "learned"] = (
        "cross_covariance"
    )
    """The shift operator: symmetrised covariance of inputs with targets, covariance of inputs, identity,
    random matrix, cross-covariance of shuffled pairs, or learned matrix."""
    network: AnyFilter = LinearFilterSpec()
    """Filter network."""
    descent_steps: int = key("steps", ge=1, default=100)
    """Steps of gradient descent that the tangent kernel predicts."""

    def build(self, on: BuildContext) -> GraphFilter:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.predictive._graph_filter import GraphFilter

        return GraphFilter(
            sample_shape(on.example),
            network=self.network.build,
            systems=self.systems,
            graph=self.graph,
            descent_steps=self.descent_steps,
        )

    def provides(self) -> tuple[type, ...]:
        return (Predictive,)

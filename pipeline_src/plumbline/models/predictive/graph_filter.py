"""Forecasts by graph filters, whose graph is chosen by kernel alignment (Khalafi, Sihag, Ribeiro, arXiv:2310.10791)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, ModelSpec
from plumbline.networks import AnyFilter
from plumbline.networks.linear_filter import LinearFilterSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.predictive._graph_filter import GraphFilter


class GraphFilterSpec(ModelSpec):
    """A state some steps ahead from the one that is known, by filters on a graph over the nodes, for each system by itself."""

    kind: Literal["graph_filter"] = "graph_filter"
    systems: int = key(ge=1, default=10)
    """Systems of the dataset, which are learned side by side."""
    graph: Literal["cross_covariance", "covariance", "identity", "random", "shuffled", "learned"] = (
        "cross_covariance"
    )
    """The shift operator: the covariance of what is known with what is asked for, made symmetric; that of what is known;
    none; a random one; the cross-covariance of pairs that do not belong together; or a matrix that is learned too."""
    network: AnyFilter = LinearFilterSpec()
    """The filters."""
    descent_steps: int = key("steps", ge=1, default=100)
    """Steps of gradient descent that the tangent kernel is asked about."""

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

    def provides(self) -> tuple[str, ...]:
        return ("prediction",)

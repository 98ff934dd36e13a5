"""Message passing on graphs of atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.networks import GraphNetworkSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._gated_graph import GatedGraphNetwork


class GatedGraphSpec(GraphNetworkSpec):
    """Gated message passing along bonds (Li et al. 2016, https://arxiv.org/abs/1511.05493)."""

    kind: Literal["gated_graph"] = "gated_graph"
    element_features: int = key("features", ge=1, default=20)
    """Features in the embedding of an element; the rest of `hidden` starts at zero."""
    hidden: int = key("features", ge=1, default=50)
    """Features per atom."""
    layers: int = key(ge=1, default=6)
    """Number of message-passing layers."""
    radial: int = key("Gaussians", ge=0, default=0)
    """Number of Gaussians of the bond length that filter messages; zero for messages independent of it."""

    @model_validator(mode="after")
    def _room_for_elements(self) -> GatedGraphSpec:
        if self.element_features > self.hidden or self.radial == 1:
            raise ValueError(
                "`element_features` must be at most `hidden`, and `radial` must be 0 or at least 2"
            )
        return self

    def build(self, elements: int) -> GatedGraphNetwork:
        from plumbline.networks._gated_graph import GatedGraphNetwork

        return GatedGraphNetwork(
            elements,
            element_features=self.element_features,
            hidden=self.hidden,
            layers=self.layers,
            radial=self.radial,
        )

    def features(self) -> int:
        return self.hidden

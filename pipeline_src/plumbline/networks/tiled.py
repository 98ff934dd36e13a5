"""States laid side by side as one picture, for a network that knows pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import AnyNetwork, NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._tiled import TiledNetwork


class TiledSpec(NetworkSpec):
    """Another network, given the states of a trajectory side by side instead of as channels (published for flows)."""

    kind: Literal["tiled"] = "tiled"
    columns: int = key("states", ge=1, default=4)
    """States in a row of the picture; rows follow in time."""
    network: AnyNetwork
    """The network that sees the picture, which is not periodic."""

    def build(self, sample: SampleShape) -> TiledNetwork:
        from plumbline.networks._tiled import TiledNetwork

        return TiledNetwork(sample, columns=self.columns, build=self.network.build)

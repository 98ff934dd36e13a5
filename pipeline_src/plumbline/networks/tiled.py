"""The states of a trajectory tiled into one image, for networks over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import AnyNetwork, NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._tiled import TiledNetwork


class TiledSpec(NetworkSpec):
    """Applies another network to the states of a trajectory, tiled into one image (published for flows)."""

    kind: Literal["tiled"] = "tiled"
    columns: int = key("states", ge=1, default=4)
    """States per row of the image; the rows follow in time."""
    network: AnyNetwork
    """The network over the image, which is treated as not periodic."""

    def build(self, sample: SampleShape) -> TiledNetwork:
        from plumbline.networks._tiled import TiledNetwork

        return TiledNetwork(sample, columns=self.columns, build=self.network.build)

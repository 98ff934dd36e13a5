"""The gradient of an input-convex convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._input_convex import InputConvexGradient


class InputConvexSpec(NetworkSpec):
    """The gradient of a convolutional potential that is convex in its input: a monotone map.

    It ignores noise levels. From Amos, Xu and Kolter (2017), https://arxiv.org/abs/1609.07152, and Feng,
    Baptista and Bouman (2025), https://arxiv.org/abs/2406.12816.
    """

    kind: Literal["input_convex"] = "input_convex"
    filters: int = key(ge=1, default=32)
    """Channels of the hidden layers."""
    layers: int = key(ge=0, default=3)
    """Number of hidden layers after the first."""
    slope: float = key(gt=0, lt=1, default=0.2)
    """Slope of the leaky ReLU for negative values."""
    padding: Literal["by_axis", "circular"] = "by_axis"
    """Padding: circular along periodic axes and zeros along others, or circular along all (published)."""
    potential: Literal["sum", "published"] = "sum"
    """Reduction of the last layer to a scalar: the sum, or the sum of the means of its rows (published)."""

    def build(self, sample: SampleShape) -> InputConvexGradient:
        from plumbline.networks._input_convex import InputConvexGradient

        return InputConvexGradient(
            sample,
            filters=self.filters,
            layers=self.layers,
            slope=self.slope,
            padding=self.padding,
            potential=self.potential,
        )

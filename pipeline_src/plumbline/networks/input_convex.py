"""The gradient of an input-convex convolutional network (Amos et al. 2017; Feng, Baptista, Bouman 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.networks import NetworkSpec, SampleShape
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.networks._input_convex import InputConvexGradient


class InputConvexSpec(NetworkSpec):
    """The gradient of a convolutional potential that is convex in its input, a monotone map; it ignores noise levels."""

    kind: Literal["input_convex"] = "input_convex"
    filters: int = key(ge=1, default=32)
    """Channels of the hidden layers."""
    layers: int = key(ge=0, default=3)
    """Hidden layers after the first."""
    slope: float = key(gt=0, lt=1, default=0.2)
    """Slope of the leaky rectifier for negative values."""
    padding: Literal["by_axis", "circular"] = "by_axis"
    """Circular along the periodic axes of the data and zeros along the others, or circular along all (published)."""
    potential: Literal["sum", "published"] = "sum"
    """How the last layer becomes a number: the sum over all, or the sum over rows of means (published)."""

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

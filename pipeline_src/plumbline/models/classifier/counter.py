"""A network that counts what is in an image: the learned constraint of Feng, Baptista, Bouman (2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.datasets import AnyDataset
from plumbline.models import BuildContext, ModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.classifier._counter import Counter


class CounterSpec(ModelSpec):
    """A convolutional network from an image to a number, trained on images of its own, of many numbers."""

    kind: Literal["counter"] = "counter"
    dataset: AnyDataset
    """Images with a `label`, of the shape of the study's; their train split is what is learned from."""
    channels: int = key(ge=1, default=32)
    """Channels of the first layer; the second has twice as many."""
    features: int = key(ge=1, default=256)
    """Features of the layer before the number."""

    def build(self, on: BuildContext) -> Counter:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.classifier._counter import Counter

        return Counter(sample_shape(on.example), channels=self.channels, features=self.features)

    def provides(self) -> tuple[str, ...]:
        return ("count",)

"""A network that counts the objects in an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.datasets import AnyDataset
from plumbline.models import BuildContext, Counting, ModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.classifier._counter import Counter


class CounterSpec(ModelSpec):
    """A convolutional network that counts the objects in an image, trained on a dataset of its own.

    It is the learned constraint of Feng, Baptista and Bouman (ICLR 2025, https://arxiv.org/abs/2406.12816).
    """

    kind: Literal["counter"] = "counter"
    dataset: AnyDataset
    """Images with their counts as `label`, of the study's shape; the network trains on their train split."""
    channels: int = key(ge=1, default=32)
    """Channels of the first layer; the second has twice as many."""
    features: int = key(ge=1, default=256)
    """Number of features in the penultimate layer."""

    def build(self, on: BuildContext) -> Counter:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.classifier._counter import Counter

        return Counter(sample_shape(on.example), channels=self.channels, features=self.features)

    def provides(self) -> tuple[type, ...]:
        return (Counting,)

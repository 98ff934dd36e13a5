"""A classifier of images, by which what is generated is counted and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.datasets import AnyDataset
from plumbline.models import Foundation, ModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.classifier.network import Classifier


class ClassifierSpec(ModelSpec):
    """A convolutional network from an image to the probabilities of its classes, trained on images of its own."""

    kind: Literal["classifier"] = "classifier"
    dataset: AnyDataset
    """Images with a `label`, of the shape of the study's; their train split is what is learned from."""
    classes: int = key(ge=2, default=10)
    """Classes, the labels 0, 1, ..."""
    channels: int = key(ge=1, default=32)
    """Channels of the first layer; the second has twice as many."""
    features: int = key(ge=1, default=64)
    """Features of the layer before the probabilities, which images are compared in."""
    dropout: float = key(ge=0, lt=1, default=0.2)
    """Share of the features dropped in training."""

    def build(self, on: Foundation) -> Classifier:
        from plumbline.models.classifier.network import Classifier
        from plumbline.models.spaces.example import sample_shape

        return Classifier(self, sample_shape(on.example))

    def offers(self) -> tuple[str, ...]:
        return ("classes",)

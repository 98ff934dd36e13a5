"""Classifiers of images, by which what is generated is counted and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.datasets import AnyDataset
from plumbline.models import Foundation, ModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.classifier.attributes import AttributeClassifier
    from plumbline.models.classifier.network import Classifier


class ImageClassifierSpec(ModelSpec):
    """Base of the classifiers: a convolutional network from an image to what it is told by, trained on images of its own."""

    dataset: AnyDataset
    """Images with what is to be told of them, of the shape of the study's; their train split is what is learned from."""
    channels: int = key(ge=1, default=32)
    """Channels of the first layer; the second has twice as many."""
    features: int = key(ge=1, default=64)
    """Features of the last layer but one, which images are compared in."""
    dropout: float = key(ge=0, lt=1, default=0.2)
    """Share of the features dropped in training."""


class ClassifierSpec(ImageClassifierSpec):
    """A classifier that tells the class of an image, its `label`, one of several."""

    kind: Literal["classifier"] = "classifier"
    classes: int = key(ge=2, default=10)
    """Classes, the labels 0, 1, ..."""

    def build(self, on: Foundation) -> Classifier:
        from plumbline.models.classifier.network import Classifier
        from plumbline.models.spaces.example import sample_shape

        return Classifier(self, sample_shape(on.example))

    def offers(self) -> tuple[str, ...]:
        return ("classes", "features")


class AttributeClassifierSpec(ImageClassifierSpec):
    """A classifier that tells which of the `attributes` that the dataset lists an image has, of which it may have several."""

    kind: Literal["attribute_classifier"] = "attribute_classifier"

    def build(self, on: Foundation) -> AttributeClassifier:
        from plumbline.models.classifier.attributes import AttributeClassifier
        from plumbline.models.spaces.example import sample_shape

        if "attributes" not in on.example:
            raise ValueError("`attribute_classifier`: the study's dataset lists no `attributes`.")
        return AttributeClassifier(self, sample_shape(on.example), on.example.sizes["attribute"])

    def offers(self) -> tuple[str, ...]:
        return ("attributes", "features")

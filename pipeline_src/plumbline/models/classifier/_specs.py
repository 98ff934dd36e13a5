"""Classifiers of images, by which what is generated is counted and compared."""

from __future__ import annotations

from plumbline.datasets import AnyDataset
from plumbline.models import ModelSpec
from plumbline.spec import key


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

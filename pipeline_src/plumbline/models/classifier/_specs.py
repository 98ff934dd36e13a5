"""Spec of the classifiers of images, with which metrics count and compare generated images."""

from __future__ import annotations

from plumbline.datasets import AnyDataset
from plumbline.models import ModelSpec
from plumbline.spec import key


class ImageClassifierSpec(ModelSpec):
    """Base of the classifiers: a convolutional network on images, trained on a dataset of its own."""

    dataset: AnyDataset
    """Labelled images of the same shape as the study's; the classifier trains on their train split."""
    channels: int = key(ge=1, default=32)
    """Channels of the first layer; the second has twice as many."""
    features: int = key(ge=1, default=64)
    """Number of features in the penultimate layer, in which images are compared."""
    dropout: float = key(ge=0, lt=1, default=0.2)
    """Fraction of the features dropped in training."""

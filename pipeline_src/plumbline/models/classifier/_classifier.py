"""Classifiers of images: standardisation, convolutional features and a linear head."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.datasets._labels import class_labels, listed_attributes
from plumbline.models._preparing import PreparedInBlocks, SampleBlock, variable
from plumbline.models._spaces import Standardisation
from plumbline.networks import SampleShape
from plumbline.networks._blocks import grid_of, image_encoder


class ImageClassifier(PreparedInBlocks, nn.Module):
    """Base of the classifiers of images (B, *S).

    Args:
        sample: the shape of images.
        outputs: number of logits per image.
        channels: channels of the first layer; the second has twice as many.
        features: number of features in the penultimate layer.
        dropout: fraction of the features dropped in training.
    """

    def __init__(
        self,
        sample: SampleShape,
        outputs: int,
        *,
        channels: int = 32,
        features: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.grid = grid_of(sample)
        self.space = Standardisation(sample.shape, "global")
        self.encoder = nn.Sequential(*image_encoder(self.grid, channels, features))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, outputs)

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation."""
        self.space.fit_blocks(block["state"] for block in blocks)

    def features(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B F"]:
        """The features of the penultimate layer."""
        z = self.space.encode(x).to(self.head.weight.dtype)
        return self.encoder(z.reshape(-1, *self.grid))

    def logits(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B outputs"]:
        """The logits of each image."""
        return self.head(self.dropout(self.features(x)))


class Classifier(ImageClassifier):
    """Class probabilities of images (B, *S), for as many classes as `outputs`."""

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation.

        Raises:
            ValueError: there are no labels, or one is not among the classes.
        """
        class_labels(variable(blocks, "label"), self.head.out_features, "classes")
        super().prepare_in_blocks(blocks)

    def log_probabilities(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B classes"]:
        """The log-probabilities of the classes."""
        return self.logits(x).log_softmax(1)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy in nats, and the fraction of images that are classified correctly."""
        predicted = self.log_probabilities(batch["state"])
        label = batch["label"].long()
        loss = nn.functional.nll_loss(predicted, label)
        right = (predicted.argmax(1) == label).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": right}


class AttributeClassifier(ImageClassifier):
    """Logits of the attributes of images (B, *S)."""

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the standardisation.

        Raises:
            ValueError: the attributes are not ones and zeros, or their number is not that of the study's
                dataset.
        """
        present = listed_attributes(variable(blocks, "attributes"), "attribute_classifier")
        if present.shape[1] != self.head.out_features:
            raise ValueError(
                f"`attribute_classifier`: its images list {present.shape[1]} attributes, and those of the "
                f"study {self.head.out_features}."
            )
        super().prepare_in_blocks(blocks)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy per attribute in nats, and the fraction that is predicted correctly."""
        logits, present = self.logits(batch["state"]), batch["attributes"]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, present.float())
        right = ((logits > 0) == (present > 0)).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": right}

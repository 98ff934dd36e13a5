"""What classifiers share: standardised images, and the features that they are told by."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.datasets._labels import class_labels, listed_attributes
from plumbline.models._spaces import Standardisation
from plumbline.networks import SampleShape
from plumbline.networks._blocks import grid_of, image_encoder


class ImageClassifier(nn.Module):
    """Base of the classifiers of images (B, *S).

    Args:
        sample: the shape of images.
        outputs: logits of an image.
        channels: channels of the first layer; the second has twice as many.
        features: features of the last layer but one.
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

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation."""
        self.space.fit(data["state"])

    def features(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B F"]:
        """What images are told by."""
        z = self.space.encode(x).to(self.head.weight.dtype)
        return self.encoder(z.reshape(-1, *self.grid))

    def logits(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B outputs"]:
        """What is told of each image."""
        return self.head(self.dropout(self.features(x)))


class Classifier(ImageClassifier):
    """Class probabilities of images (B, *S): as many classes as `outputs`."""

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation.

        Raises:
            ValueError: there are no labels, or one is none of the classes.
        """
        class_labels(data, self.head.out_features, "classes")
        super().prepare(data)

    def log_probabilities(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B classes"]:
        """The logarithms of the probabilities of the classes."""
        return self.logits(x).log_softmax(1)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy in nats, and the share of images that are told right."""
        told = self.log_probabilities(batch["state"])
        label = batch["label"].long()
        loss = nn.functional.nll_loss(told, label)
        right = (told.argmax(1) == label).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": right}


class AttributeClassifier(ImageClassifier):
    """Logits of the attributes of images (B, *S)."""

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation.

        Raises:
            ValueError: the attributes are no ones and zeros, or not as many as those of the study's dataset.
        """
        has = listed_attributes(data, "attribute_classifier")
        if has.shape[1] != self.head.out_features:
            raise ValueError(
                f"`attribute_classifier`: its images list {has.shape[1]} attributes, and those of the study "
                f"{self.head.out_features}."
            )
        super().prepare(data)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy of an attribute in nats, and the share that is told right."""
        told, has = self.logits(batch["state"]), batch["attributes"]
        loss = nn.functional.binary_cross_entropy_with_logits(told, has.float())
        right = ((told > 0) == (has > 0)).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": right}

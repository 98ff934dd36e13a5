"""The classifying network, trained by the likelihood of the class."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models.classifier import ClassifierSpec
from plumbline.models.spaces.standardisation import Standardisation
from plumbline.networks import SampleShape
from plumbline.networks.blocks.grid import grid_of
from plumbline.networks.blocks.reader import image_reader


class Classifier(nn.Module):
    """Class probabilities of images (B, *S)."""

    def __init__(self, spec: ClassifierSpec, sample: SampleShape) -> None:
        super().__init__()
        self.spec, self.grid = spec, grid_of(sample)
        self.space = Standardisation(sample.shape, "global")
        self.reader = nn.Sequential(*image_reader(self.grid, spec.channels, spec.features))
        self.dropout = nn.Dropout(spec.dropout)
        self.head = nn.Linear(spec.features, spec.classes)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation.

        Raises:
            ValueError: a label is none of the classes.
        """
        if int(data["label"].max()) >= self.spec.classes:
            raise ValueError(
                f"`classes`: {self.spec.classes} are not enough for the label {int(data['label'].max())}."
            )
        self.space.fit(data["state"])

    def features(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B F"]:
        """What the classes are told by."""
        z = self.space.encode(x).to(self.head.weight.dtype)
        return self.reader(z.reshape(-1, *self.grid))

    def log_probabilities(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B classes"]:
        """The logarithms of the probabilities of the classes."""
        return self.head(self.dropout(self.features(x))).log_softmax(1)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy in nats, and the share of images that are told right."""
        told = self.log_probabilities(batch["state"])
        loss = nn.functional.nll_loss(told, batch["label"])
        right = (told.argmax(1) == batch["label"]).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": right}

"""The classifier of classes, trained by the likelihood of the class."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from plumbline.datasets._labels import class_labels
from plumbline.models.classifier import ClassifierSpec
from plumbline.models.classifier.reader import ImageClassifier
from plumbline.networks import SampleShape


class Classifier(ImageClassifier):
    """Class probabilities of images (B, *S)."""

    def __init__(self, spec: ClassifierSpec, sample: SampleShape) -> None:
        super().__init__(spec, sample, spec.classes)
        self.spec = spec

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the standardisation.

        Raises:
            ValueError: there are no labels, or one is none of the classes.
        """
        class_labels(data, self.spec.classes, "classes")
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

"""The classifier of attributes, of which an image may have several: a logit for each."""

from __future__ import annotations

from torch import Tensor, nn

from plumbline.datasets._labels import listed_attributes
from plumbline.models.classifier.reader import ImageClassifier


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

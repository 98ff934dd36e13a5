"""The classifier of attributes, of which an image may have several: a logit for each."""

from __future__ import annotations

from torch import Tensor, nn

from plumbline.models.classifier.reader import ImageClassifier


class AttributeClassifier(ImageClassifier):
    """Logits of the attributes of images (B, *S)."""

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean cross-entropy of an attribute in nats, and the share that is told right."""
        told, has = self.logits(batch["state"]), batch["attributes"]
        loss = nn.functional.binary_cross_entropy_with_logits(told, has.float())
        right = ((told > 0) == (has > 0)).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": right}

"""A classifier of the attributes of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import AttributePredicting, BuildContext, FeatureExtracting
from plumbline.models.classifier._specs import ImageClassifierSpec

if TYPE_CHECKING:
    from plumbline.models.classifier._classifier import AttributeClassifier


class AttributeClassifierSpec(ImageClassifierSpec):
    """A multi-label classifier: predicts which of the dataset's listed `attributes` an image has."""

    kind: Literal["attribute_classifier"] = "attribute_classifier"

    def build(self, on: BuildContext) -> AttributeClassifier:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.classifier._classifier import AttributeClassifier

        if "attributes" not in on.example:
            raise ValueError("`attribute_classifier`: the study's dataset lists no `attributes`.")
        return AttributeClassifier(
            sample_shape(on.example),
            on.example.sizes["attribute"],
            channels=self.channels,
            features=self.features,
            dropout=self.dropout,
        )

    def provides(self) -> tuple[type, ...]:
        return (AttributePredicting, FeatureExtracting)

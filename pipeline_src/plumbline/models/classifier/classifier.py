"""A classifier of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, Classifying, FeatureExtracting
from plumbline.models.classifier._specs import ImageClassifierSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.classifier._classifier import Classifier


class ClassifierSpec(ImageClassifierSpec):
    """A classifier: predicts the `label` of an image, one of several classes."""

    kind: Literal["classifier"] = "classifier"
    classes: int = key(ge=2, default=10)
    """Number of classes; the labels are 0, 1, ..."""

    def build(self, on: BuildContext) -> Classifier:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.classifier._classifier import Classifier

        return Classifier(
            sample_shape(on.example),
            self.classes,
            channels=self.channels,
            features=self.features,
            dropout=self.dropout,
        )

    def provides(self) -> tuple[type, ...]:
        return (Classifying, FeatureExtracting)

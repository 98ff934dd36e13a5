"""Log-probability, under a classifier, that a sample belongs to one of several classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline._capabilities import require
from plumbline.attributes import Attribute, AttributeSpec, Classifying
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn


class ClassScoreSpec(AttributeSpec):
    """log(p + `floor`), where p is the sum of the probabilities that a classifier predicts for the
    classes."""

    kind: Literal["class_score"] = "class_score"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    classes: tuple[int, ...]
    """The classes."""
    floor: float = key(gt=0, lt=1, default=1e-2)
    """Probability that is added to p; it bounds the score of samples that are clearly of other classes."""

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        classifier = require(models[self.classifier], Classifying, self.classifier)
        return _ClassScore(classifier, self.classes, self.floor)

    def depends_on(self) -> dict[str, type]:
        return {self.classifier: Classifying}


class _ClassScore(Attribute):
    def __init__(self, classifier: Classifying, classes: tuple[int, ...], floor: float) -> None:
        self.classifier, self.classes, self.floor = classifier, list(classes), floor

    def value(self, x: Tensor) -> Tensor:
        probability = self.classifier.log_probabilities(x).exp()[:, self.classes].sum(1)
        return (probability + self.floor).log()

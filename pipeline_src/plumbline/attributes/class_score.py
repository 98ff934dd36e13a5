"""How sure a classifier is that a picture is of some class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from plumbline.attributes import Attribute, AttributeSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class ClassScoreSpec(AttributeSpec):
    """The logarithm of the probability, of at least `floor`, that a trained classifier gives any of some classes."""

    kind: Literal["class_score"] = "class_score"
    classifier: str
    """Name of the classifier, one of the study's `models`."""
    classes: tuple[int, ...]
    """The classes."""
    floor: float = key(gt=0, lt=1, default=1e-2)
    """Probability added to that of the classes, so that the score of one hopeless picture does not outweigh all others."""

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        return _ClassScore(models[self.classifier], self.classes, self.floor)

    def depends_on(self) -> dict[str, str]:
        return {self.classifier: "classes"}


class _ClassScore(Attribute):
    def __init__(self, classifier: Any, classes: tuple[int, ...], floor: float) -> None:
        self.classifier, self.classes, self.floor = classifier, list(classes), floor

    def value(self, x: Tensor) -> Tensor:
        probability = self.classifier.log_probabilities(x).exp()[:, self.classes].sum(1)
        return (probability + self.floor).log()

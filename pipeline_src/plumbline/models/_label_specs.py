"""Specs of labels that samples have or should have: classes, attributes, or levels of attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from plumbline.attributes import AnyAttribute
from plumbline.models import BuildContext
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models._labels import Classes, Levels, Listed, Measured


Named = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class ClassLabelsSpec(Spec):
    """The class of each sample, one of several."""

    kind: Literal["classes"] = "classes"
    classes: int = key(ge=2, default=10)
    """Number of classes; the dataset's `label` takes the values 0, 1, ..."""

    def build(self, on: BuildContext) -> Classes:
        """Builds the labels."""
        from plumbline.models._labels import Classes

        return Classes(self.classes)

    def depends_on(self) -> dict[str, type]:
        """The study's models that measure the labels, and the Protocol that each must satisfy."""
        return {}


class ListedLabelsSpec(Spec):
    """The binary attributes that the dataset lists for each sample (`attributes` of `image_folder`)."""

    kind: Literal["listed"] = "listed"

    def build(self, on: BuildContext) -> Listed:
        """Builds the labels.

        Raises:
            ValueError: the dataset lists no attributes.
        """
        from plumbline.models._labels import Listed

        if "attributes" not in on.example:
            raise ValueError(
                "`wanted`: the dataset lists no `attributes`; set `wanted.kind` to `classes` or `measured`."
            )
        return Listed(str(name) for name in on.example["attribute"].values)

    def depends_on(self) -> dict[str, type]:
        """The study's models that measure the labels, and the Protocol that each must satisfy."""
        return {}


class AttributeLabelsSpec(Spec):
    """Whether each of several attributes of a sample exceeds its median over the training data."""

    kind: Literal["measured"] = "measured"
    attributes: dict[Named, AnyAttribute] = Field(min_length=1)
    """The attributes by name."""

    def build(self, on: BuildContext) -> Measured:
        """Builds the labels."""
        from plumbline.models._labels import Measured

        return Measured({name: a.build(on.example, on.models) for name, a in self.attributes.items()})

    def depends_on(self) -> dict[str, type]:
        """The study's models that measure the labels, and the Protocol that each must satisfy."""
        return {name: what for a in self.attributes.values() for name, what in a.depends_on().items()}


class LevelSpec(Spec):
    """An attribute, and the level that it should reach in decoded samples."""

    attribute: AnyAttribute
    """The attribute to measure on the decoded sample."""
    level: float = key("standard deviations of the training data")
    """Minimum value, relative to the mean of the training data."""


class LevelsSpec(Spec):
    """Levels that attributes of decoded samples should reach, by gradients through the decoder (zero-shot).

    There are no labels, and nothing is learned about the attributes.
    """

    kind: Literal["levels"] = "levels"
    levels: dict[Named, LevelSpec] = Field(min_length=1)
    """The levels by name."""

    def build(self, on: BuildContext) -> Levels:
        """Builds the levels."""
        from plumbline.models._labels import Levels

        attributes = {name: one.attribute.build(on.example, on.models) for name, one in self.levels.items()}
        return Levels(attributes, [one.level for one in self.levels.values()])

    def depends_on(self) -> dict[str, type]:
        """The study's models that measure the attributes, and the Protocol that each must satisfy."""
        return {
            name: what for one in self.levels.values() for name, what in one.attribute.depends_on().items()
        }


AnyLabels = Annotated[ClassLabelsSpec | ListedLabelsSpec | AttributeLabelsSpec, Field(discriminator="kind")]
"""Labels that samples may have."""
AnyWanted = Annotated[
    ClassLabelsSpec | ListedLabelsSpec | AttributeLabelsSpec | LevelsSpec, Field(discriminator="kind")
]
"""What may be requested of samples: labels or levels."""

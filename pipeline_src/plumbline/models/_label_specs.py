"""What is asked of samples, or told of them: classes, attributes, or levels of attributes."""

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
    """How many; the dataset's `label` is 0, 1, ..."""

    def build(self, on: BuildContext) -> Classes:
        """The labels."""
        from plumbline.models._labels import Classes

        return Classes(self.classes)

    def depends_on(self) -> dict[str, str]:
        """The study's models that labels are measured by, and what is needed of each."""
        return {}


class ListedLabelsSpec(Spec):
    """The attributes that the dataset lists of each sample, as `attributes` of `image_folder`, each a label of its own."""

    kind: Literal["listed"] = "listed"

    def build(self, on: BuildContext) -> Listed:
        """The labels.

        Raises:
            ValueError: the dataset lists no attributes.
        """
        from plumbline.models._labels import Listed

        if "attributes" not in on.example:
            raise ValueError(
                "`wanted`: the dataset lists no `attributes`; ask for `classes`, or `measured` ones."
            )
        return Listed(str(name) for name in on.example["attribute"].values)

    def depends_on(self) -> dict[str, str]:
        """The study's models that labels are measured by, and what is needed of each."""
        return {}


class AttributeLabelsSpec(Spec):
    """Whether attributes of a sample are over their medians in the training data, each a label of its own."""

    kind: Literal["measured"] = "measured"
    attributes: dict[Named, AnyAttribute] = Field(min_length=1)
    """The attributes by name."""

    def build(self, on: BuildContext) -> Measured:
        """The labels."""
        from plumbline.models._labels import Measured

        return Measured({name: a.build(on.example, on.models) for name, a in self.attributes.items()})

    def depends_on(self) -> dict[str, str]:
        """The study's models that labels are measured by, and what is needed of each."""
        return {name: what for a in self.attributes.values() for name, what in a.depends_on().items()}


class LevelSpec(Spec):
    """An attribute that a decoded sample is to reach a level of."""

    attribute: AnyAttribute
    """What is measured of the decoded sample."""
    level: float = key("standard deviations of the training data")
    """The least value, from the mean of the training data."""


class LevelsSpec(Spec):
    """Levels of attributes of the decoded sample, differentiated through the decoder: no labels, nothing learned of them
    (zero-shot)."""

    kind: Literal["levels"] = "levels"
    levels: dict[Named, LevelSpec] = Field(min_length=1)
    """The levels by name."""

    def build(self, on: BuildContext) -> Levels:
        """The levels."""
        from plumbline.models._labels import Levels

        attributes = {name: one.attribute.build(on.example, on.models) for name, one in self.levels.items()}
        return Levels(attributes, [one.level for one in self.levels.values()])

    def depends_on(self) -> dict[str, str]:
        """The study's models that attributes are measured by, and what is needed of each."""
        return {
            name: what for one in self.levels.values() for name, what in one.attribute.depends_on().items()
        }


AnyLabels = Annotated[ClassLabelsSpec | ListedLabelsSpec | AttributeLabelsSpec, Field(discriminator="kind")]
"""Labels that samples are to have."""
AnyWanted = Annotated[
    ClassLabelsSpec | ListedLabelsSpec | AttributeLabelsSpec | LevelsSpec, Field(discriminator="kind")
]
"""What samples are to have, labels or levels."""

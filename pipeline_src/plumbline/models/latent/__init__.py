"""Latent constraints: critics and actors in an autoencoder's latent space (Engel, Hoffman, Roberts, ICLR 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from plumbline.attributes import AnyAttribute
from plumbline.models import FittedModelSpec, Foundation, ModelSpec
from plumbline.networks import AnyRegressor
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import Spec, key

if TYPE_CHECKING:
    from plumbline.models.latent.actor import LatentActor
    from plumbline.models.latent.class_gaussian import ClassGaussian
    from plumbline.models.latent.critics import LatentCritics
    from plumbline.models.latent.labels import Classes, Levels, Measured

Named = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class ClassLabelsSpec(Spec):
    """The class of each sample, one of several."""

    kind: Literal["classes"] = "classes"
    classes: int = key(ge=2, default=10)
    """How many; the dataset's `label` is 0, 1, ..."""

    def build(self, on: Foundation) -> Classes:
        """The labels."""
        from plumbline.models.latent.labels import Classes

        return Classes(self.classes)

    def stands_on(self) -> dict[str, str]:
        """The study's models that labels are measured by, and what is needed of each."""
        return {}


class AttributeLabelsSpec(Spec):
    """Whether attributes of a sample are over their medians in the training data, each a label of its own."""

    kind: Literal["measured"] = "measured"
    attributes: dict[Named, AnyAttribute] = Field(min_length=1)
    """The attributes by name."""

    def build(self, on: Foundation) -> Measured:
        """The labels."""
        from plumbline.models.latent.labels import Measured

        return Measured({name: a.build(on.example, on.models) for name, a in self.attributes.items()})

    def stands_on(self) -> dict[str, str]:
        """The study's models that labels are measured by, and what is needed of each."""
        return {name: what for a in self.attributes.values() for name, what in a.stands_on().items()}


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

    def build(self, on: Foundation) -> Levels:
        """The levels."""
        from plumbline.models.latent.labels import Levels

        attributes = {name: one.attribute.build(on.example, on.models) for name, one in self.levels.items()}
        return Levels(attributes, [one.level for one in self.levels.values()])

    def stands_on(self) -> dict[str, str]:
        """The study's models that attributes are measured by, and what is needed of each."""
        return {
            name: what for one in self.levels.values() for name, what in one.attribute.stands_on().items()
        }


AnyWanted = Annotated[ClassLabelsSpec | AttributeLabelsSpec | LevelsSpec, Field(discriminator="kind")]
"""What samples are to have."""


class LatentSpec(ModelSpec):
    """Base of the models in the latent space of an autoencoder."""

    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyWanted = ClassLabelsSpec()
    """What samples are to have: a class, attributes, or levels of them."""

    def stands_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior", **self.wanted.stands_on()}


class LatentCriticsSpec(LatentSpec):
    """Two critics of latent vectors: whether they are those of data, and which labels they have."""

    kind: Literal["latent_critics"] = "latent_critics"
    network: AnyRegressor = PerceptronSpec(width=256, layers=4, activation="relu")
    """The trunk of each critic."""
    gradient_penalty: float = key(ge=0, default=10.0)
    """Weight of the squared distance from one of the gradient of the realism critic (published: 10)."""

    def build(self, on: Foundation) -> LatentCritics:
        from plumbline.models.latent.critics import LatentCritics

        return LatentCritics(self, on.models[self.autoencoder], self.wanted.build(on))

    def offers(self) -> tuple[str, ...]:
        known = ("labels",) if self.wanted.kind == "levels" else ("labels", "label_critic")
        return ("critics", *known)


class LatentActorSpec(LatentSpec):
    """A network that moves latent vectors to where what is wanted holds, trained against a critic."""

    kind: Literal["latent_actor"] = "latent_actor"
    network: AnyRegressor = PerceptronSpec(width=256, layers=4, activation="relu")
    """The trunk of the actor and of its critic."""
    distance: float = key(ge=0, default=0.1)
    """Weight of the distance that a vector is moved (published: 0, and 0.1 for 1,024 numbers)."""
    gradient_penalty: float = key(ge=0, default=10.0)
    """Weight of the squared distance from one of the gradient of the critic (published: 10)."""
    critic_steps: int = key("steps", ge=1, default=10)
    """Steps of the critic for each of the actor (published: 10)."""
    prior_share: float = key(ge=0, le=1, default=0.1)
    """Share of draws of the prior, not moved, among what the critic is to refuse (published: 0.1)."""
    level_weight: float = key(ge=0, default=1.0)
    """Weight of the shortfall of levels of decoded samples, where levels are what is wanted."""

    def build(self, on: Foundation) -> LatentActor:
        from plumbline.models.latent.actor import LatentActor

        return LatentActor(self, on.models[self.autoencoder], self.wanted.build(on))

    def offers(self) -> tuple[str, ...]:
        return ("latents", "actor", "labels")

    def dial(self) -> str | None:
        return "distance"


class ClassGaussianSpec(FittedModelSpec):
    """A Gaussian for each class, fitted to the latent vectors of its training samples: the baseline without training."""

    kind: Literal["class_gaussian"] = "class_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    classes: int = key(ge=2, default=10)
    """How many; the dataset's `label` is 0, 1, ..."""

    def build(self, on: Foundation) -> ClassGaussian:
        from plumbline.models.latent.class_gaussian import ClassGaussian

        return ClassGaussian(self, on.models[self.autoencoder])

    def stands_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior"}

    def offers(self) -> tuple[str, ...]:
        return ("latents",)

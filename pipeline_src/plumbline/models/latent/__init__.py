"""Latent constraints: critics and actors in an autoencoder's latent space (Engel, Hoffman, Roberts, ICLR 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import FittedModelSpec, Foundation, ModelSpec
from plumbline.models.labels import AnyLabels, AnyWanted, ClassLabelsSpec
from plumbline.networks import AnyRegressor
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.latent.actor import LatentActor
    from plumbline.models.latent.aggregate_posterior import AggregatePosterior
    from plumbline.models.latent.attribute_gaussian import AttributeGaussian
    from plumbline.models.latent.class_gaussian import ClassGaussian
    from plumbline.models.latent.critics import LatentCritics


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
    """A Gaussian for each class, or combination of labels, fitted to the latent vectors of its training samples: the baseline
    without training."""

    kind: Literal["class_gaussian"] = "class_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyLabels = ClassLabelsSpec()
    """The classes, or the labels that are combined; of many labels, take `attribute_gaussian`."""

    def build(self, on: Foundation) -> ClassGaussian:
        from plumbline.models.latent.class_gaussian import ClassGaussian

        return ClassGaussian(on.models[self.autoencoder], self.wanted.build(on))

    def stands_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior", **self.wanted.stands_on()}

    def offers(self) -> tuple[str, ...]:
        return ("latents", "labels")


class AttributeGaussianSpec(FittedModelSpec):
    """A Gaussian of latent vectors whose mean is linear in the labels, for labels of which there are too many combinations."""

    kind: Literal["attribute_gaussian"] = "attribute_gaussian"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    wanted: AnyLabels
    """The labels."""

    def build(self, on: Foundation) -> AttributeGaussian:
        from plumbline.models.latent.attribute_gaussian import AttributeGaussian

        return AttributeGaussian(on.models[self.autoencoder], self.wanted.build(on))

    def stands_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior", **self.wanted.stands_on()}

    def offers(self) -> tuple[str, ...]:
        return ("latents", "labels")


class AggregatePosteriorSpec(FittedModelSpec):
    """The mixture of the posteriors of training samples: the floor of draws without labels in the latent space."""

    kind: Literal["aggregate_posterior"] = "aggregate_posterior"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    components: int = key("training samples", ge=1, default=1000)
    """Of how many training samples; where there are fewer, some count more than once."""

    def build(self, on: Foundation) -> AggregatePosterior:
        from plumbline.models.latent.aggregate_posterior import AggregatePosterior

        return AggregatePosterior(self, on.models[self.autoencoder])

    def stands_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior"}

    def offers(self) -> tuple[str, ...]:
        return ("latents",)

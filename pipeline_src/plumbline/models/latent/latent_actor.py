"""An actor that moves latent vectors to where a critic accepts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, Labelled, LatentEditing, LatentVariable, PosteriorEncoding
from plumbline.models.latent._specs import LatentSpec
from plumbline.networks import AnyRegressor
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.latent._latent_actor import LatentActor


class LatentActorSpec(LatentSpec):
    """A network that moves latent vectors towards requested labels or levels, trained against a critic.

    Source: Engel, Hoffman, Roberts (ICLR 2018, https://arxiv.org/abs/1711.05772).
    """

    kind: Literal["latent_actor"] = "latent_actor"
    network: AnyRegressor = PerceptronSpec(width=256, layers=4, activation="relu")
    """The trunk of the actor and of its critic."""
    distance: float = key(ge=0, default=0.1)
    """Weight of the distance that a vector is moved (published: 0, and 0.1 for 1,024 dimensions)."""
    gradient_penalty: float = key(ge=0, default=10.0)
    """Weight of the penalty on critic gradients whose norm differs from one (published: 10)."""
    critic_steps: int = key("steps", ge=1, default=10)
    """Steps of the critic per step of the actor (published: 10)."""
    prior_fraction: float = key(ge=0, le=1, default=0.1)
    """Fraction of unmoved prior samples among the vectors that the critic should refuse (published: 0.1)."""
    level_weight: float = key(ge=0, default=1.0)
    """Weight of the violation of levels by decoded samples, where levels are requested."""

    def build(self, on: BuildContext) -> LatentActor:
        from plumbline.models.latent._latent_actor import LatentActor

        return LatentActor(
            on.model(self.autoencoder, PosteriorEncoding),
            self.wanted.build(on),
            network=self.network,
            distance=self.distance,
            gradient_penalty=self.gradient_penalty,
            critic_steps=self.critic_steps,
            prior_fraction=self.prior_fraction,
            level_weight=self.level_weight,
        )

    def provides(self) -> tuple[type, ...]:
        return (LatentVariable, LatentEditing, Labelled)

    def tradeoff_parameter(self) -> str | None:
        return "distance"

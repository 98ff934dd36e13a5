"""Critics of the realism and the labels of latent vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, Criticising, LabelCriticising, Labelled, PosteriorEncoding
from plumbline.models.latent._specs import LatentSpec
from plumbline.networks import AnyRegressor
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.latent._latent_critics import LatentCritics


class LatentCriticsSpec(LatentSpec):
    """Two critics of latent vectors: whether they are those of data, and which labels they have.

    Source: Engel, Hoffman, Roberts (ICLR 2018, https://arxiv.org/abs/1711.05772).
    """

    kind: Literal["latent_critics"] = "latent_critics"
    network: AnyRegressor = PerceptronSpec(width=256, layers=4, activation="relu")
    """The trunk of each critic."""
    gradient_penalty: float = key(ge=0, default=10.0)
    """Weight of the penalty on realism-critic gradients whose norm differs from one (published: 10)."""

    def build(self, on: BuildContext) -> LatentCritics:
        from plumbline.models.latent._latent_critics import LatentCritics

        return LatentCritics(
            on.model(self.autoencoder, PosteriorEncoding),
            self.wanted.build(on),
            network=self.network,
            gradient_penalty=self.gradient_penalty,
        )

    def provides(self) -> tuple[type, ...]:
        return (Criticising if self.wanted.kind == "levels" else LabelCriticising, Labelled)

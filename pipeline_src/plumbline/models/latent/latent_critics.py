"""Critics of the latent space: realism, and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext
from plumbline.models.latent._specs import LatentSpec
from plumbline.networks import AnyRegressor
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.latent._latent_critics import LatentCritics


class LatentCriticsSpec(LatentSpec):
    """Two critics of latent vectors: whether they are those of data, and which labels they have."""

    kind: Literal["latent_critics"] = "latent_critics"
    network: AnyRegressor = PerceptronSpec(width=256, layers=4, activation="relu")
    """The trunk of each critic."""
    gradient_penalty: float = key(ge=0, default=10.0)
    """Weight of the squared distance from one of the gradient of the realism critic (published: 10)."""

    def build(self, on: BuildContext) -> LatentCritics:
        from plumbline.models.latent._latent_critics import LatentCritics

        return LatentCritics(
            on.models[self.autoencoder],
            self.wanted.build(on),
            network=self.network,
            gradient_penalty=self.gradient_penalty,
        )

    def provides(self) -> tuple[str, ...]:
        known = ("labels",) if self.wanted.kind == "levels" else ("labels", "label_critic")
        return ("critics", *known)

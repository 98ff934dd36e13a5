"""A mixture of the posteriors of training samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.latent._aggregate_posterior import AggregatePosterior


class AggregatePosteriorSpec(FittedModelSpec):
    """The mixture of the posteriors of training samples: the floor of draws without labels in the latent space."""

    kind: Literal["aggregate_posterior"] = "aggregate_posterior"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    components: int = key("training samples", ge=1, default=1000)
    """Of how many training samples; where there are fewer, some count more than once."""

    def build(self, on: BuildContext) -> AggregatePosterior:
        from plumbline.models.latent._aggregate_posterior import AggregatePosterior

        return AggregatePosterior(on.models[self.autoencoder], components=self.components)

    def depends_on(self) -> dict[str, str]:
        return {self.autoencoder: "posterior"}

    def provides(self) -> tuple[str, ...]:
        return ("latents",)

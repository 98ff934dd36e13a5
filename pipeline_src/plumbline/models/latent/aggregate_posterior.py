"""A mixture of the posteriors of training samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec, LatentVariable, PosteriorEncoding
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.latent._aggregate_posterior import AggregatePosterior


class AggregatePosteriorSpec(FittedModelSpec):
    """The mixture of the posteriors of training samples (Hoffman, Johnson, 2016).

    It is the floor for methods that sample the latent space without labels.
    """

    kind: Literal["aggregate_posterior"] = "aggregate_posterior"
    autoencoder: str
    """Name of the autoencoder, one of the study's `models`."""
    components: int = key("training samples", ge=1, default=1000)
    """Number of training samples in the mixture; where there are fewer, some are used more than once."""

    def build(self, on: BuildContext) -> AggregatePosterior:
        from plumbline.models.latent._aggregate_posterior import AggregatePosterior

        return AggregatePosterior(on.model(self.autoencoder, PosteriorEncoding), components=self.components)

    def depends_on(self) -> dict[str, type]:
        return {self.autoencoder: PosteriorEncoding}

    def provides(self) -> tuple[type, ...]:
        return (LatentVariable,)

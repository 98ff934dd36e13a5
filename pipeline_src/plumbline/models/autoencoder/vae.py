"""A variational autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import AnyEstimator, ReparameterisedSpec
from plumbline.models import BuildContext, PosteriorEncoding, PriorSampling
from plumbline.models.autoencoder._specs import AutoencoderSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.autoencoder._vae import PlainVAE


class VAESpec(AutoencoderSpec):
    """The autoencoder of Kingma and Welling (2014, https://arxiv.org/abs/1312.6114).

    Its latent vector can be conditioned on its sum.
    """

    kind: Literal["vae"] = "vae"
    latent: int = key(ge=1, default=16)
    """Number of entries in the latent vector."""
    latent_total: float | None = None
    """Sum of the latent vector that posterior and prior are conditioned on; null leaves them free."""
    estimator: AnyEstimator = ReparameterisedSpec()
    """Estimator of the gradient through the latent sample."""

    def build(self, on: BuildContext) -> PlainVAE:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.autoencoder._vae import PlainVAE

        return PlainVAE(
            sample_shape(on.example),
            self.latent,
            estimator=self.estimator,
            latent_total=self.latent_total,
            encoder=self.encoder,
            decoder=self.decoder,
            **self.output_options(on),
        )

    def provides(self) -> tuple[type, ...]:
        return (PriorSampling, PosteriorEncoding)

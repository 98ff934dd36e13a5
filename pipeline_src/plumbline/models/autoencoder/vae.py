"""A variational autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import AnyEstimator, ReparameterisedSpec
from plumbline.models import BuildContext
from plumbline.models.autoencoder._specs import AutoencoderSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.autoencoder._vae import PlainVAE


class VAESpec(AutoencoderSpec):
    """The autoencoder of Kingma and Welling (2014); its latent vector may be given its sum."""

    kind: Literal["vae"] = "vae"
    latent: int = key(ge=1, default=16)
    """Numbers in the latent vector."""
    latent_total: float | None = None
    """Sum that posterior and prior are conditioned on; null leaves them free."""
    estimator: AnyEstimator = ReparameterisedSpec()
    """How gradients pass the latent sample."""

    def build(self, on: BuildContext) -> PlainVAE:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.autoencoder._vae import PlainVAE

        return PlainVAE(
            sample_shape(on.example),
            self.latent,
            estimator=self.estimator,
            latent_total=self.latent_total,
            **self.shared(on),
        )

    def provides(self) -> tuple[str, ...]:
        return ("prior", "latents", "posterior")

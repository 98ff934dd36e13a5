"""A ladder variational autoencoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext
from plumbline.models.autoencoder._specs import AutoencoderSpec
from plumbline.networks import AnyRegressor
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.autoencoder._ladder_vae import LadderVAE


class LadderVAESpec(AutoencoderSpec):
    """The ladder autoencoder with two levels (Sonderby et al. 2016, https://arxiv.org/abs/1602.02282)."""

    kind: Literal["ladder_vae"] = "ladder_vae"
    encoder: AnyRegressor = PerceptronSpec(width=256, layers=2)
    """Network from a sample to features; a second one of the same kind takes these features."""
    decoder: AnyRegressor = PerceptronSpec(width=256, layers=2)
    """Network from the lower latent vector to features; a second one maps the upper vector to the prior's."""
    latent: int = key(ge=1, default=16)
    """Number of entries in the lower latent vector."""
    upper_latent: int = key(ge=1, default=8)
    """Number of entries in the upper latent vector."""

    def build(self, on: BuildContext) -> LadderVAE:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.autoencoder._ladder_vae import LadderVAE

        return LadderVAE(
            sample_shape(on.example),
            self.latent,
            upper_latent=self.upper_latent,
            encoder=self.encoder,
            decoder=self.decoder,
            **self.output_options(on),
        )

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
    """The ladder autoencoder of two levels (Sonderby et al. 2016)."""

    kind: Literal["ladder_vae"] = "ladder_vae"
    encoder: AnyRegressor = PerceptronSpec(width=256, layers=2)
    """The network from a sample to features; another one like it reads these."""
    decoder: AnyRegressor = PerceptronSpec(width=256, layers=2)
    """The network from the lower latent vector to features, and another one from the upper vector to the prior's."""
    latent: int = key(ge=1, default=16)
    """Numbers in the lower latent vector."""
    upper_latent: int = key(ge=1, default=8)
    """Numbers in the upper latent vector."""

    def build(self, on: BuildContext) -> LadderVAE:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.autoencoder._ladder_vae import LadderVAE

        return LadderVAE(
            sample_shape(on.example), self.latent, upper_latent=self.upper_latent, **self.shared(on)
        )

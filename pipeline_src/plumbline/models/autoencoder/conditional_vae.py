"""A variational autoencoder that is conditioned on labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, LatentVariable
from plumbline.models._label_specs import AnyLabels, ClassLabelsSpec
from plumbline.models.autoencoder._specs import AutoencoderSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.autoencoder._conditional_vae import ConditionalVAE


class ConditionalVAESpec(AutoencoderSpec):
    """An autoencoder conditioned on the class or attributes of each sample (Sohn, Lee, Yan, NeurIPS 2015)."""

    kind: Literal["conditional_vae"] = "conditional_vae"
    latent: int = key(ge=1, default=16)
    """Number of entries in the latent vector."""
    wanted: AnyLabels = ClassLabelsSpec()
    """The labels that encoder and decoder are conditioned on."""

    def build(self, on: BuildContext) -> ConditionalVAE:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.autoencoder._conditional_vae import ConditionalVAE

        return ConditionalVAE(
            sample_shape(on.example),
            self.latent,
            wanted=self.wanted.build(on),
            encoder=self.encoder,
            decoder=self.decoder,
            **self.output_options(on),
        )

    def depends_on(self) -> dict[str, type]:
        return {**super().depends_on(), **self.wanted.depends_on()}

    def provides(self) -> tuple[type, ...]:
        return (LatentVariable,)

"""Variational autoencoders with a constrained output, a constrained latent space, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.estimators import AnyEstimator, ReparameterisedSpec
from plumbline.models import Foundation
from plumbline.models.labels import AnyLabels, ClassLabelsSpec
from plumbline.models.outputs import FeasibleModelSpec
from plumbline.networks import AnyReader, AnyRegressor, AnyWriter
from plumbline.networks.perceptron import PerceptronSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.vae.conditional import ConditionalVAE
    from plumbline.models.vae.ladder import LadderVAE
    from plumbline.models.vae.plain import PlainVAE


class AutoencoderSpec(FeasibleModelSpec):
    """What the plain and the ladder autoencoder share: networks, and the law of the output."""

    encoder: AnyReader = PerceptronSpec(width=256, layers=2)
    """The network from a sample to features."""
    decoder: AnyWriter = PerceptronSpec(width=256, layers=2)
    """The network from a latent vector to features."""
    importance_samples: int = key("draws", ge=1, default=100)
    """Draws of the importance-sampled likelihood."""

    def offers(self) -> tuple[str, ...]:
        return ("prior",)


class VAESpec(AutoencoderSpec):
    """The autoencoder of Kingma and Welling (2014); its latent vector may be given its sum."""

    kind: Literal["vae"] = "vae"
    latent: int = key(ge=1, default=16)
    """Numbers in the latent vector."""
    latent_total: float | None = None
    """Sum that posterior and prior are conditioned on; null leaves them free."""
    estimator: AnyEstimator = ReparameterisedSpec()
    """How gradients pass the latent sample."""

    def build(self, on: Foundation) -> PlainVAE:
        from plumbline.models.spaces.example import sample_shape
        from plumbline.models.vae.plain import PlainVAE

        return PlainVAE(self, sample_shape(on.example), on.constraint(self.constraint))

    def offers(self) -> tuple[str, ...]:
        return ("prior", "latents", "posterior")


class ConditionalVAESpec(AutoencoderSpec):
    """The autoencoder that is told the class of each sample, or its attributes (Sohn, Lee, Yan 2015)."""

    kind: Literal["conditional_vae"] = "conditional_vae"
    latent: int = key(ge=1, default=16)
    """Numbers in the latent vector."""
    wanted: AnyLabels = ClassLabelsSpec()
    """The labels that it is told."""

    def build(self, on: Foundation) -> ConditionalVAE:
        from plumbline.models.spaces.example import sample_shape
        from plumbline.models.vae.conditional import ConditionalVAE

        constraint = on.constraint(self.constraint)
        return ConditionalVAE(self, sample_shape(on.example), constraint, self.wanted.build(on))

    def stands_on(self) -> dict[str, str]:
        return {**super().stands_on(), **self.wanted.stands_on()}

    def offers(self) -> tuple[str, ...]:
        return ("latents",)


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

    def build(self, on: Foundation) -> LadderVAE:
        from plumbline.models.spaces.example import sample_shape
        from plumbline.models.vae.ladder import LadderVAE

        return LadderVAE(self, sample_shape(on.example), on.constraint(self.constraint))

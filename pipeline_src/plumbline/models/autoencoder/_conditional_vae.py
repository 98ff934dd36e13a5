r"""An autoencoder conditioned on the class or the attributes of each sample (Sohn, Lee, Yan, NeurIPS 2015).

The encoder takes x and the labels y as ones and zeros, the decoder z and y:

    ELBO = E_{q(z | x, y)}[log p(x | z, y)] - KL(q(z | x, y) || N(0, I)).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import kl_divergence

from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.models._labels import Labels
from plumbline.models._preparing import SampleBlock
from plumbline.models.autoencoder._autoencoder import Autoencoder
from plumbline.models.autoencoder._specs import OutputOptions
from plumbline.models.autoencoder._vae import INITIAL_STD, SMALLEST_STD
from plumbline.networks import DecoderSpec, EncoderSpec, SampleShape
from plumbline.networks._blocks import GaussianHead


class ConditionalVAE(Autoencoder):
    """The autoencoder conditioned on labels of Sohn, Lee and Yan (NeurIPS 2015).

    Args:
        sample: the shape of samples.
        latent: number of entries in the latent vector.
        encoder: builds the network from samples and labels to features.
        decoder: builds the network from latent vectors and labels to features, and the head of the output.
        wanted: computes the labels of a batch.
        others: options of the output, as for `Autoencoder`.
    """

    def __init__(
        self,
        sample: SampleShape,
        latent: int,
        *,
        encoder: EncoderSpec,
        decoder: DecoderSpec,
        wanted: Labels,
        **others: Unpack[OutputOptions],
    ) -> None:
        super().__init__(sample, latent, encoder=encoder, decoder=decoder, condition=wanted.count, **others)
        self.posterior_head = GaussianHead(encoder.features_of(sample), latent, INITIAL_STD, SMALLEST_STD)
        self.latent, self.wanted = latent, wanted

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scaling and the labels."""
        super().prepare_in_blocks(blocks)
        self.wanted.fit_blocks(blocks)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the output plus the KL divergence of the posterior, and both terms."""
        y = self.wanted.of(batch)
        features = self.encoder(torch.cat([self.scaled(batch), y], dim=1))
        posterior = IndependentGaussian(*self.posterior_head(features), validate_args=False)
        prior = IndependentGaussian(
            torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean), validate_args=False
        )
        divergence = kl_divergence(posterior, prior)
        each, terms = self.output.loss(
            self.by, *self.decoded(torch.cat([posterior.rsample(), y], dim=1)), batch
        )
        return (each + divergence).mean(), {**terms, "divergence": divergence.detach().mean()}

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples latent vectors from the prior."""
        return torch.randn(len(batch["state"]), self.latent, device=batch["state"].device)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The mean of the output, in the data's units, for latent vectors and the labels of the batch."""
        return super().decode(torch.cat([z, self.wanted.of(batch)], dim=1), batch)

r"""An autoencoder that is told the class of each sample, or its attributes (Sohn, Lee, Yan, NeurIPS 2015).

The encoder reads x and the labels y as ones and zeros, the decoder z and y:

    ELBO = E_{q(z | x, y)}[log p(x | z, y)] - KL(q(z | x, y) || N(0, I)).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import kl_divergence

from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.models.autoencoder._autoencoder import Autoencoder
from plumbline.models.autoencoder._vae import INITIAL_DEVIATION, SMALLEST_DEVIATION
from plumbline.networks import EncoderSpec, SampleShape
from plumbline.networks._blocks import GaussianHead


class ConditionalVAE(Autoencoder):
    """An autoencoder of samples of known labels.

    Args:
        sample: the shape of samples.
        latent: numbers of the latent vector.
        encoder: makes the network from samples and labels to features.
        wanted: reads the labels of a batch.
        others: as for `Autoencoder`.
    """

    def __init__(
        self, sample: SampleShape, latent: int, *, encoder: EncoderSpec, wanted: Any, **others: Any
    ) -> None:
        super().__init__(sample, latent, encoder=encoder, beside=wanted.count, **others)
        self.posterior_head = GaussianHead(
            encoder.features_of(sample), latent, INITIAL_DEVIATION, SMALLEST_DEVIATION
        )
        self.latent, self.wanted = latent, wanted

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the scaling and the labels."""
        super().prepare(data)
        self.wanted.fit(data)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the output plus the divergence of the posterior, and both."""
        y = self.wanted.of(batch)
        read = self.encoder(torch.cat([self.scaled(batch), y], dim=1))
        posterior = IndependentGaussian(*self.posterior_head(read), validate_args=False)
        prior = IndependentGaussian(
            torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean), validate_args=False
        )
        divergence = kl_divergence(posterior, prior)
        each, terms = self.output.loss(
            self.by, *self.decoded(torch.cat([posterior.rsample(), y], dim=1)), batch
        )
        return (each + divergence).mean(), {**terms, "divergence": divergence.detach().mean()}

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Latent vectors of the prior."""
        return torch.randn(len(batch["state"]), self.latent, device=batch["state"].device)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """Means of the output for latent vectors and the labels of the samples of the batch, in the data's units."""
        return super().decode(torch.cat([z, self.wanted.of(batch)], dim=1), batch)

r"""The variational autoencoder of Kingma and Welling (2014), with an optional constraint on the latent sum.

q(z | x) = N(m(x), diag(s(x))) and p(z) = N(0, I), both conditioned on 1^T z = k if `latent_total` is k (Li et
al. 2025). The KL divergence is then that of the conditioned distributions; that of the unconditioned ones
would also count the direction that the constraint fixes.

Sources: https://arxiv.org/abs/1312.6114; https://arxiv.org/abs/2502.05416.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.estimators import EstimatorSpec
from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.linalg.maps import GroupSum
from plumbline.models._on_device import WithConstraints
from plumbline.models.autoencoder._autoencoder import Autoencoder
from plumbline.models.autoencoder._specs import OutputOptions
from plumbline.networks import DecoderSpec, EncoderSpec, SampleShape
from plumbline.networks._blocks import GaussianHead

# Standard deviation of the posterior at initialisation, and its lower bound.
INITIAL_STD, SMALLEST_STD = 0.5, 1e-3


LatentGaussian = IndependentGaussian | ConstrainedGaussian
"""A posterior or a prior, conditioned on the sum of the latent vector where that is constrained."""


class PlainVAE(Autoencoder, WithConstraints):
    """The autoencoder of Kingma and Welling (2014, https://arxiv.org/abs/1312.6114).

    Args:
        sample: the shape of samples.
        latent: d.
        encoder: builds the network from samples to features.
        decoder: builds the network from latent vectors to features, and the head of the output.
        estimator: estimates the gradient through the latent sample.
        latent_total: k, the sum of the latent vector; None to leave it free.
        others: options of the output, as for `Autoencoder`.
    """

    def __init__(
        self,
        sample: SampleShape,
        latent: int,
        *,
        encoder: EncoderSpec,
        decoder: DecoderSpec,
        estimator: EstimatorSpec,
        latent_total: float | None = None,
        **others: Unpack[OutputOptions],
    ) -> None:
        super().__init__(sample, latent, encoder=encoder, decoder=decoder, **others)
        self.posterior_head = GaussianHead(encoder.features_of(sample), latent, INITIAL_STD, SMALLEST_STD)
        self.latent, self.estimator = latent, estimator
        self.total: LinearEquality | None = None
        if latent_total is not None:
            everything = GroupSum(torch.zeros(latent, dtype=torch.long))
            self.total = LinearEquality(everything, torch.tensor([latent_total]))

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the output plus the KL divergence of the posterior, and both terms."""
        posterior = self.posterior(batch)
        divergence = kl_divergence(posterior, self._prior(len(batch["state"]), batch["state"].device))
        terms: dict[str, Tensor] = {}

        def output_loss(z: Tensor) -> Tensor:
            """The loss of the output for latent vectors (S, B, d)."""
            repeated = {name: t.repeat(len(z), *(1,) * (t.ndim - 1)) for name, t in batch.items()}
            each, output_terms = self.output.loss(self.by, *self.decoded(z.flatten(0, 1)), repeated)
            terms.update(output_terms)
            return each.unflatten(0, (len(z), -1))

        each = self.estimator.surrogate(posterior, output_loss).mean(0) + divergence
        return each.mean(), {**terms, "divergence": divergence.detach().mean()}

    def posterior(self, batch: dict[str, Tensor]) -> LatentGaussian:
        """q(z | x) of the samples of a batch."""
        return self._distribution(*self.posterior_head(self.encoder(self.scaled(batch))))

    def latent_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Samples latent vectors (B, d) from the prior."""
        return self._prior(len(batch["state"]), batch["state"].device).sample()

    def posterior_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Samples one latent vector per sample from the posterior (B, d)."""
        return self.posterior(batch).sample()

    def prior_draw(self, count: int, like: Tensor) -> Tensor:
        return self._prior(count, like.device).sample()

    def posterior_draw(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        posterior = self._distribution(*self.posterior_head(self.encoder(x)))
        prior = self._prior(len(x), x.device)
        z = posterior.sample((samples,))
        divergence = kl_divergence(posterior, prior).expand(samples, -1)
        return z, prior.log_prob(z) - posterior.log_prob(z), divergence

    def _prior(self, count: int, device: torch.device) -> LatentGaussian:
        zeros = torch.zeros(count, self.latent, device=device)
        return self._distribution(zeros, torch.ones_like(zeros))

    def _distribution(self, mean: Tensor, variance: Tensor) -> LatentGaussian:
        if self.total is None:
            return IndependentGaussian(mean, variance, validate_args=False)
        return ConstrainedGaussian(mean, variance, self.total, validate_args=False)

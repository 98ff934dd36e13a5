r"""The ladder autoencoder of two levels (Sonderby, Raiko, Maaloe, Sonderby, Winther 2016).

Bottom up, features d_1(x) and d_2(d_1) give likelihood-like Gaussians N(m_1, s_1) and q(z_2 | x) = N(m_2,
s_2). Top down, the prior p(z_1 | z_2) = N(m_p(z_2), s_p(z_2)) and the bottom-up Gaussian are combined by
their precisions,

    q(z_1 | x, z_2) = N((m_1 / s_1 + m_p / s_p) v, v),    1/v = 1/s_1 + 1/s_p,

and the decoder takes z_1. The divergence is KL(q(z_2) || N(0, I)) + E KL(q(z_1 | z_2) || p(z_1 | z_2)).

Source: https://arxiv.org/abs/1602.02282.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.models.autoencoder._autoencoder import Autoencoder
from plumbline.models.autoencoder._specs import OutputOptions
from plumbline.networks import RegressorSpec, SampleShape
from plumbline.networks._blocks import GaussianHead

# Standard deviation of the latent Gaussians at initialisation, and its lower bound.
INITIAL_STD, SMALLEST_STD = 0.5, 1e-3


class LadderVAE(Autoencoder):
    """The ladder autoencoder of Sonderby et al. (2016, https://arxiv.org/abs/1602.02282) with two levels.

    Args:
        sample: the shape of samples.
        latent: number of entries in the lower latent vector.
        upper_latent: number of entries in the upper latent vector.
        encoder: builds the networks from samples, and from features, to features.
        decoder: builds the networks from latent vectors to features, and the head of the output.
        others: options of the output, as for `Autoencoder`.
    """

    def __init__(
        self,
        sample: SampleShape,
        latent: int,
        *,
        upper_latent: int,
        encoder: RegressorSpec,
        decoder: RegressorSpec,
        **others: Unpack[OutputOptions],
    ) -> None:
        super().__init__(sample, latent, encoder=encoder, decoder=decoder, **others)
        features = encoder.features()
        self.upper_encoder = encoder.build(features)
        self.prior_network = decoder.build(upper_latent)
        stds = (INITIAL_STD, SMALLEST_STD)
        self.lower_head = GaussianHead(features, latent, *stds)
        self.upper_head = GaussianHead(features, upper_latent, *stds)
        self.prior_head = GaussianHead(decoder.features(), latent, *stds)
        self.upper = upper_latent

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the output plus the KL divergence of both levels, and both terms."""
        z, _, divergence = self._ladder(self.scaled(batch), 1)
        each, terms = self.output.loss(self.by, *self.decoded(z[0]), batch)
        return (each + divergence[0]).mean(), {**terms, "divergence": divergence.detach().mean()}

    def prior_draw(self, count: int, like: Tensor) -> Tensor:
        return self._prior(torch.randn(count, self.upper, device=like.device)).sample()

    def posterior_draw(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        return self._ladder(x, samples)

    def _prior(self, upper: Tensor) -> IndependentGaussian:
        return IndependentGaussian(*self.prior_head(self.prior_network(upper)), validate_args=False)

    def _ladder(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Lower latent vectors (S, B, d), log p - log q (S, B) and KL divergence (S, B) of both levels."""
        features = self.encoder(x)
        upper_posterior = IndependentGaussian(
            *self.upper_head(self.upper_encoder(features)), validate_args=False
        )
        upper_prior = IndependentGaussian(*_standard(upper_posterior.mean), validate_args=False)
        upper = upper_posterior.rsample((samples,))
        lower_prior = self._prior(upper)
        lower_posterior = _combined(self.lower_head(features), lower_prior)
        lower = lower_posterior.rsample()
        log_ratio = (
            upper_prior.log_prob(upper) - upper_posterior.log_prob(upper)
            + lower_prior.log_prob(lower) - lower_posterior.log_prob(lower)
        )  # fmt: skip
        divergence = kl_divergence(upper_posterior, upper_prior) + kl_divergence(lower_posterior, lower_prior)
        return lower, log_ratio, divergence


def _standard(like: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(like), torch.ones_like(like)


def _combined(bottom_up: tuple[Tensor, Tensor], prior: IndependentGaussian) -> IndependentGaussian:
    """The Gaussian with the sum of both precisions, and the mean of both weighted by precision."""
    mean, variance = bottom_up
    precision = 1 / variance + 1 / prior.variance
    return IndependentGaussian(
        (mean / variance + prior.mean / prior.variance) / precision, 1 / precision, validate_args=False
    )

r"""The ladder autoencoder of two levels (Sonderby, Raiko, Maaloe, Sonderby, Winther 2016).

Bottom up, features d_1(x) and d_2(d_1) give likelihood-like Gaussians N(m_1, s_1) and q(z_2 | x) = N(m_2, s_2). Top
down, the prior p(z_1 | z_2) = N(m_p(z_2), s_p(z_2)) and the bottom-up one meet by their precisions,

    q(z_1 | x, z_2) = N((m_1 / s_1 + m_p / s_p) v, v),    1/v = 1/s_1 + 1/s_p,

and the decoder reads z_1. The divergence is KL(q(z_2) || N(0, I)) + E KL(q(z_1 | z_2) || p(z_1 | z_2)).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.models.autoencoder._autoencoder import Autoencoder
from plumbline.networks import RegressorSpec, SampleShape
from plumbline.networks._blocks import GaussianHead

# Deviations at the start, and the least.
INITIAL_DEVIATION, SMALLEST_DEVIATION = 0.5, 1e-3


class LadderVAE(Autoencoder):
    """An autoencoder with an upper and a lower latent vector.

    Args:
        sample: the shape of samples.
        latent: numbers of the lower latent vector.
        upper_latent: numbers of the upper one.
        encoder: makes the networks from samples, and from features, to features.
        decoder: makes the networks from latent vectors to features, and the head of the output.
        others: as for `Autoencoder`.
    """

    def __init__(
        self,
        sample: SampleShape,
        latent: int,
        *,
        upper_latent: int,
        encoder: RegressorSpec,
        decoder: RegressorSpec,
        **others: Any,
    ) -> None:
        super().__init__(sample, latent, encoder=encoder, decoder=decoder, **others)
        features = encoder.features()
        self.upper_encoder = encoder.build(features)
        self.prior_network = decoder.build(upper_latent)
        stds = (INITIAL_DEVIATION, SMALLEST_DEVIATION)
        self.lower_head = GaussianHead(features, latent, *stds)
        self.upper_head = GaussianHead(features, upper_latent, *stds)
        self.prior_head = GaussianHead(decoder.features(), latent, *stds)
        self.upper = upper_latent

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the output plus the divergences of both levels, and both."""
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
        """Lower latent vectors (S, B, d), log p - log q of both levels, and their divergence."""
        features = self.encoder(x)
        upper_posterior = IndependentGaussian(
            *self.upper_head(self.upper_encoder(features)), validate_args=False
        )
        upper_prior = IndependentGaussian(*_standard(upper_posterior.mean), validate_args=False)
        upper = upper_posterior.rsample((samples,))
        lower_prior = self._prior(upper)
        lower_posterior = _meeting(self.lower_head(features), lower_prior)
        lower = lower_posterior.rsample()
        log_ratio = (
            upper_prior.log_prob(upper) - upper_posterior.log_prob(upper)
            + lower_prior.log_prob(lower) - lower_posterior.log_prob(lower)
        )  # fmt: skip
        divergence = kl_divergence(upper_posterior, upper_prior) + kl_divergence(lower_posterior, lower_prior)
        return lower, log_ratio, divergence


def _standard(like: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(like), torch.ones_like(like)


def _meeting(bottom_up: tuple[Tensor, Tensor], prior: Any) -> IndependentGaussian:
    """The Gaussian whose precision is the sum of both, and whose mean is theirs, weighted by it."""
    mean, variance = bottom_up
    precision = 1 / variance + 1 / prior.variance
    return IndependentGaussian(
        (mean / variance + prior.mean / prior.variance) / precision, 1 / precision, validate_args=False
    )

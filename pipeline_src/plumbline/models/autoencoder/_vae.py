r"""The plain autoencoder, with a latent vector that may be given its sum.

q(z | x) = N(m(x), diag(s(x))) and p(z) = N(0, I), both conditioned on 1^T z = k if `latent_total` is k. The
divergence is then that of the conditioned laws; the free one would count the fixed direction too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from plumbline.constraints._linear_equality import LinearEquality
from plumbline.distributions.constrained_gaussian import ConstrainedGaussian
from plumbline.distributions.estimators import EstimatorSpec
from plumbline.distributions.independent_gaussian import IndependentGaussian
from plumbline.linalg.maps import GroupSum
from plumbline.models.autoencoder._autoencoder import Autoencoder
from plumbline.networks import EncoderSpec, SampleShape
from plumbline.networks._blocks import GaussianHead

# Deviations of the posterior at the start, and the least.
INITIAL_DEVIATION, SMALLEST_DEVIATION = 0.5, 1e-3


class PlainVAE(Autoencoder):
    """An autoencoder with one latent vector.

    Args:
        sample: the shape of samples.
        latent: d.
        encoder: makes the network from samples to features.
        estimator: how gradients pass the latent sample.
        latent_total: k, the sum of the latent vector; None for one that is free.
        others: as for `Autoencoder`.
    """

    def __init__(
        self,
        sample: SampleShape,
        latent: int,
        *,
        encoder: EncoderSpec,
        estimator: EstimatorSpec,
        latent_total: float | None = None,
        **others: Any,
    ) -> None:
        super().__init__(sample, latent, encoder=encoder, **others)
        self.posterior_head = GaussianHead(
            encoder.features_of(sample), latent, INITIAL_DEVIATION, SMALLEST_DEVIATION
        )
        self.latent, self.estimator = latent, estimator
        self.total: LinearEquality | None = None
        if latent_total is not None:
            everything = GroupSum(torch.zeros(latent, dtype=torch.long))
            self.total = LinearEquality(everything, torch.tensor([latent_total]))

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of the output plus the divergence of the posterior, and both."""
        posterior = self.posterior(batch)
        divergence = kl_divergence(posterior, self._prior(len(batch["state"]), batch["state"].device))
        terms: dict[str, Tensor] = {}

        def of_output(z: Tensor) -> Tensor:
            """The loss of the output for latent vectors (S, B, d)."""
            repeated = {name: t.repeat(len(z), *(1,) * (t.ndim - 1)) for name, t in batch.items()}
            each, told = self.output.loss(self.by, *self.decoded(z.flatten(0, 1)), repeated)
            terms.update(told)
            return each.unflatten(0, (len(z), -1))

        each = self.estimator.surrogate(posterior, of_output).mean(0) + divergence
        return each.mean(), {**terms, "divergence": divergence.detach().mean()}

    def posterior(self, batch: dict[str, Tensor]) -> Any:
        """q(z | x) of the samples of a batch."""
        return self._distribution(*self.posterior_head(self.encoder(self.scaled(batch))))

    def latent_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """Latent vectors (B, d) of the prior."""
        return self._prior(len(batch["state"]), batch["state"].device).sample()

    def posterior_draws(self, batch: dict[str, Tensor]) -> Tensor:
        """A latent vector (B, d) of each sample."""
        return self.posterior(batch).sample()

    def prior_draw(self, count: int, like: Tensor) -> Tensor:
        return self._prior(count, like.device).sample()

    def posterior_draw(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        posterior = self._distribution(*self.posterior_head(self.encoder(x)))
        prior = self._prior(len(x), x.device)
        z = posterior.sample((samples,))
        divergence = kl_divergence(posterior, prior).expand(samples, -1)
        return z, prior.log_prob(z) - posterior.log_prob(z), divergence

    def _prior(self, count: int, device: torch.device) -> Any:
        zeros = torch.zeros(count, self.latent, device=device)
        return self._distribution(zeros, torch.ones_like(zeros))

    def _distribution(self, mean: Tensor, variance: Tensor) -> Any:
        if self.total is None:
            return IndependentGaussian(mean, variance, validate_args=False)
        return ConstrainedGaussian(mean, variance, self.total, validate_args=False)

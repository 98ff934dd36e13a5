r"""What autoencoders share: the decoder with its law, the bound, the importance-sampled likelihood.

With the decoder's law p(x | z), the prior p(z) and the posterior q(z | x),

    ELBO  = E_q[log p(x | z)] - KL(q(z | x) || p(z)),
    log p(x) ~ log 1/S sum_s p(x | z_s) p(z_s) / q(z_s | x),    z_s ~ q(z | x).

Densities are those of the laws: on the feasible set of the output where it is constrained, and on that of the latent
space where that is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models._output_specs import Supervision
from plumbline.models._outputs import FeasibleOutput
from plumbline.models._spaces import Scaling
from plumbline.networks import DecoderSpec, EncoderSpec, SampleShape

# Test samples whose likelihoods are estimated together.
CHUNK = 64


class Autoencoder(nn.Module):
    """Base of the autoencoders of samples (B, *S), with a latent vector of d numbers that the decoder reads.

    Args:
        sample: the shape of samples.
        latent: d.
        encoder: makes the network from samples to features.
        decoder: makes the network from latent vectors to features, and its head.
        by: law, objective and penalty of the output.
        scaling: how samples are scaled.
        constraint: the equality of the output, or None.
        initial_std: standard deviation of the output at the start, in the scaled space.
        min_std: its floor.
        importance_samples: draws of the importance-sampled likelihood.
        beside: numbers that encoder and decoder read beside, of what is known of each sample.
    """

    def __init__(
        self,
        sample: SampleShape,
        latent: int,
        *,
        encoder: EncoderSpec,
        decoder: DecoderSpec,
        by: Supervision,
        scaling: Scaling,
        constraint: Any,
        initial_std: float = 0.05,
        min_std: float = 1e-3,
        importance_samples: int = 100,
        beside: int = 0,
    ) -> None:
        super().__init__()
        self.by, self.importance_samples = by, importance_samples
        self.encoder = encoder.encoder(sample, beside)
        self.decoder = decoder.decoder(latent + beside, sample)
        self.head = decoder.head(sample, initial_std, min_std)
        self.output = FeasibleOutput(by.likelihood, sample.shape, scaling=scaling, constraint=constraint)

    def prior_draw(self, count: int, like: Tensor) -> Float[Tensor, "B d"]:
        """Latent vectors of the prior."""
        raise NotImplementedError

    def posterior_draw(self, x: Float[Tensor, "B n"], samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latent vectors (S, B, d), log p(z) - log q(z | x) (S, B), and the divergence (S, B), of scaled samples."""
        raise NotImplementedError

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the scaling."""
        self.output.fit(data["state"])

    def scaled(self, batch: dict[str, Tensor]) -> Float[Tensor, "B n"]:
        """The samples of a batch in the scaled space, flattened."""
        return self.output.space.encode(batch["state"]).flatten(1).to(torch.get_default_dtype())

    def decoded(self, z: Float[Tensor, "B d"]) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Mean and variance of the output before its law."""
        return self.head(self.decoder(z), variance_apart=self.by.variance_apart)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """Means of the output for latent vectors, in the data's units; differentiable."""
        mean = self.output.distribution(*self.decoded(z), batch).mean
        return self.output.space.decode(mean.view(batch["state"].shape))

    def draw(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draws of the prior; and, of the samples of the batch, reconstructions, bounds and likelihoods."""
        z = self.prior_draw(len(batch["state"]), next(self.parameters()))
        told = {"state": self.output.predict(*self.decoded(z), batch)["state"]}
        chunks = [
            self._judged({name: tensor[i : i + CHUNK] for name, tensor in batch.items()})
            for i in range(0, len(batch["state"]), CHUNK)
        ]
        return told | {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def _judged(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Reconstruction, ELBO and likelihood of each sample."""
        draws = self.importance_samples
        z, log_ratio, divergence = self.posterior_draw(self.scaled(batch), draws)
        repeated = {name: tensor.repeat(draws, *(1,) * (tensor.ndim - 1)) for name, tensor in batch.items()}
        predicted = self.output.predict(*self.decoded(z.flatten(0, 1)), repeated)
        suffix = "" if self.by.likelihood.constrains() else "_free"
        likelihood = predicted[f"log_likelihood{suffix}"].unflatten(0, (draws, -1))
        mean = predicted["predicted_mean"].unflatten(0, (draws, -1))
        return {
            "reconstruction": mean[0],
            f"elbo{suffix}": (likelihood - divergence).mean(0),
            f"log_likelihood{suffix}": torch.logsumexp(likelihood + log_ratio, 0) - math.log(draws),
        }

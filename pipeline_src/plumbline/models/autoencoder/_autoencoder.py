r"""The base of the autoencoders: decoder, ELBO and importance-sampled likelihood.

With the decoder's likelihood p(x | z), the prior p(z) and the posterior q(z | x),

    ELBO  = E_q[log p(x | z)] - KL(q(z | x) || p(z)),
    log p(x) ~ log 1/S sum_s p(x | z_s) p(z_s) / q(z_s | x),    z_s ~ q(z | x)

(Burda, Grosse, Salakhutdinov 2016, https://arxiv.org/abs/1509.00519). Where the output or the latent vector
is constrained, its densities are those on the feasible set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import LinearEqualityConstraint
from plumbline.models._output_specs import Supervision
from plumbline.models._outputs import FeasibleOutput
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import Scaling
from plumbline.networks import DecoderSpec, EncoderSpec, SampleShape

# Number of test samples whose likelihoods are estimated together.
CHUNK = 64


class Autoencoder(PreparedInBlocks, nn.Module):
    """Base of the autoencoders of samples (B, *S), whose decoder takes a latent vector of d entries.

    Args:
        sample: the shape of samples.
        latent: d.
        encoder: builds the network from samples to features.
        decoder: builds the network from latent vectors to features, and its head.
        by: likelihood, objective and penalty of the output.
        scaling: how samples are scaled.
        constraint: the equality of the output, or None.
        initial_std: standard deviation of the output at the start, in the scaled space.
        min_std: lower bound of that standard deviation.
        importance_samples: number of latent samples S in the importance-sampled likelihood.
        condition: number of conditioning values that encoder and decoder take in addition.
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
        constraint: LinearEqualityConstraint | None,
        initial_std: float = 0.05,
        min_std: float = 1e-3,
        importance_samples: int = 100,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.by, self.importance_samples = by, importance_samples
        self.encoder = encoder.encoder(sample, condition)
        self.decoder = decoder.decoder(latent + condition, sample)
        self.head = decoder.head(sample, initial_std, min_std)
        self.output = FeasibleOutput(by.likelihood, sample.shape, scaling=scaling, constraint=constraint)

    def prior_draw(self, count: int, like: Tensor) -> Float[Tensor, "B d"]:
        """Samples latent vectors (B, d) from the prior."""
        raise NotImplementedError

    def posterior_draw(self, x: Float[Tensor, "B n"], samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Samples the posterior of scaled samples.

        Returns:
            Latent vectors (S, B, d), log p(z) - log q(z | x) (S, B), and the KL divergence (S, B).
        """
        raise NotImplementedError

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scaling."""
        self.output.fit_blocks(block["state"] for block in blocks)

    def scaled(self, batch: dict[str, Tensor]) -> Float[Tensor, "B n"]:
        """The samples of a batch in the scaled space, flattened."""
        return self.output.space.encode(batch["state"]).flatten(1).to(torch.get_default_dtype())

    def decoded(self, z: Float[Tensor, "B d"]) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n"]]:
        """Mean and variance of the output before the constraint."""
        return self.head(self.decoder(z), variance_apart=self.by.variance_apart)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The mean of the output for latent vectors, in the data's units; differentiable."""
        mean = self.output.distribution(*self.decoded(z), batch).mean
        return self.output.space.decode(mean.view(batch["state"].shape))

    def draw(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Samples from the prior; and reconstructions, ELBOs and likelihoods of the samples of the batch."""
        z = self.prior_draw(len(batch["state"]), next(self.parameters()))
        drawn = {"state": self.output.predict(*self.decoded(z), batch)["state"]}
        chunks = [
            self._evaluated({name: tensor[i : i + CHUNK] for name, tensor in batch.items()})
            for i in range(0, len(batch["state"]), CHUNK)
        ]
        return drawn | {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}

    def _evaluated(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
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

r"""The latent space of a trained autoencoder, and how far a move in it is (Engel, Hoffman, Roberts, ICLR 2018, section 4).

With the mean s_d of the posterior's standard deviation over the training data, a dimension,

    L_dist(z', z) = mean_d s_d^-2 log(1 + (z'_d - z_d)^2).

Dimensions that tell much of a sample have a narrow posterior, and are dear; those that tell nothing have s_d near one. The
logarithm lets a few dimensions go far while the others stay.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Samples that are encoded together.
CHUNK = 1024


class LatentSpace(nn.Module):
    """Latent vectors (B, d) of a frozen autoencoder.

    Attributes:
        deviation: s (d,), the mean standard deviation of the posterior.
    """

    std: Tensor

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.numbers: int = autoencoder.latent
        self.register_buffer("std", torch.ones(self.numbers))

    @torch.no_grad()
    def fit(self, data: dict[str, Tensor]) -> None:
        """Measures the deviations of the posterior."""
        _, variances = self.posterior_moments(data)
        self.std.copy_(variances.sqrt().mean(0))

    @torch.no_grad()
    def posterior_moments(self, data: dict[str, Tensor]) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d"]]:
        """Means and variances of the posterior of each sample of a whole dataset."""
        parts = [
            self.autoencoder.posterior({name: tensor[i : i + CHUNK] for name, tensor in data.items()})
            for i in range(0, len(data["state"]), CHUNK)
        ]
        return torch.cat([part.mean for part in parts]), torch.cat([part.variance for part in parts])

    @torch.no_grad()
    def posterior_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """A latent vector of each sample."""
        return self.autoencoder.posterior(batch).sample()

    @torch.no_grad()
    def prior_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """As many latent vectors of the prior."""
        return self.autoencoder.latent_draws(batch)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples, in the data's units; differentiable."""
        return self.autoencoder.decode(z, batch)

    def distance(self, moved: Float[Tensor, "B d"], z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """L_dist of each sample."""
        return ((moved - z).square().log1p() / self.std.square()).mean(1)

    def shift(self, moved: Float[Tensor, "B d"], z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """How far each sample was moved: the mean square over dimensions, in deviations of the posterior."""
        return ((moved - z) / self.std).square().mean(1)

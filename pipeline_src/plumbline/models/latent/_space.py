r"""The latent space of an autoencoder, and a distance in it (Engel, Hoffman, Roberts, ICLR 2018, section 4).

With s_d, the posterior's standard deviation in dimension d averaged over the training data,

    L_dist(z', z) = mean_d s_d^-2 log(1 + (z'_d - z_d)^2).

Informative dimensions have a narrow posterior, and moves along them cost much; uninformative dimensions have
s_d near one. The logarithm allows large moves in a few dimensions while the others stay.

Source: https://arxiv.org/abs/1711.05772.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.models import PosteriorEncoding
from plumbline.models._moments import RunningMoments
from plumbline.models._preparing import SampleBlock

# Number of samples that are encoded together.
CHUNK = 1024


class LatentSpace(nn.Module):
    """Latent vectors (B, d) of a frozen autoencoder, with the distance of Engel et al. (ICLR 2018).

    Source: https://arxiv.org/abs/1711.05772, section 4.

    Args:
        autoencoder: the trained autoencoder.

    Attributes:
        std: s (d,), the mean standard deviation of the posterior.
        dim: d.
    """

    std: Tensor

    def __init__(self, autoencoder: PosteriorEncoding) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.dim = autoencoder.latent
        self.register_buffer("std", torch.ones(self.dim))

    @torch.no_grad()
    def fit_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Measures the standard deviations of the posterior."""
        stds = RunningMoments()
        for block in blocks:
            stds.add(self.posterior_moments(block)[1].sqrt())
        self.std.copy_(stds.mean)

    @torch.no_grad()
    def posterior_moments(self, data: SampleBlock) -> tuple[Float[Tensor, "N d"], Float[Tensor, "N d"]]:
        """Means and variances of the posterior of each sample of a dataset, encoded in chunks."""
        parts = [
            self.autoencoder.posterior({name: tensor[i : i + CHUNK] for name, tensor in data.items()})
            for i in range(0, len(data["state"]), CHUNK)
        ]
        return torch.cat([part.mean for part in parts]), torch.cat([part.variance for part in parts])

    @torch.no_grad()
    def posterior_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples one latent vector per sample from the posterior."""
        return self.autoencoder.posterior(batch).sample()

    @torch.no_grad()
    def prior_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples one latent vector per sample from the prior."""
        return self.autoencoder.latent_draws(batch)

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples, in the data's units; differentiable."""
        return self.autoencoder.decode(z, batch)

    def distance(self, moved: Float[Tensor, "B d"], z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """L_dist of each sample."""
        return ((moved - z).square().log1p() / self.std.square()).mean(1)

    def shift(self, moved: Float[Tensor, "B d"], z: Float[Tensor, "B d"]) -> Float[Tensor, " B"]:
        """The mean square of each move over dimensions, in standard deviations of the posterior."""
        return ((moved - z) / self.std).square().mean(1)

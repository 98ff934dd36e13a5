r"""The aggregate posterior: the distribution of the latent vectors of data (Hoffman, Johnson, 2016).

    q(z) = 1/N sum_n q(z | x_n)    over training samples x_n.

A realism critic distinguishes it from the prior, and a perfect critic accepts only its samples. It is
therefore the floor for all methods that sample the latent space without labels. It is no method to recommend,
since it reproduces training samples. As with the floor of real data, each training sample is used once before
any is used twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plumbline.models import PosteriorEncoding
from plumbline.models._preparing import PreparedInBlocks, SampleBlock, samples_at
from plumbline.models.latent._space import LatentSpace


class AggregatePosterior(PreparedInBlocks, nn.Module):
    """The aggregate posterior (Hoffman, Johnson, 2016): the mixture of the posteriors of N training samples.

    Args:
        autoencoder: the trained autoencoder.
        components: N.

    Attributes:
        means, stds: means and standard deviations of the posteriors (N, d).
    """

    means: Tensor
    stds: Tensor

    def __init__(self, autoencoder: PosteriorEncoding, *, components: int = 1000) -> None:
        super().__init__()
        self.space = LatentSpace(autoencoder)
        shape = components, self.space.dim
        self.register_buffer("means", torch.zeros(shape))
        self.register_buffer("stds", torch.ones(shape))

    @torch.no_grad()
    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Encodes as many training samples as there are components, which are held in memory."""
        count = sum(len(block["state"]) for block in blocks)
        chosen = samples_at(blocks, each_once(count, len(self.means)))
        means, variances = self.space.posterior_moments(chosen)
        self.means.copy_(means)
        self.stds.copy_(variances.sqrt())

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """Samples one latent vector from q(z) per sample of the batch."""
        component = each_once(len(self.means), len(batch["state"]), self.means.device)
        return self.means[component] + self.stds[component] * torch.randn_like(self.means[component])

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)


def each_once(count: int, requested: int, device: torch.device | None = None) -> Int[Tensor, " R"]:
    """Random indices below `count`, as many as requested; each occurs once before any occurs twice."""
    rounds = -(-requested // count)
    return torch.cat([torch.randperm(count, device=device) for _ in range(rounds)])[:requested]

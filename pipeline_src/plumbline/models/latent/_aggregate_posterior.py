r"""The aggregate posterior of an autoencoder: where its latent vectors of data are (Hoffman, Johnson, 2016).

    q(z) = 1/N sum_n q(z | x_n)    over training samples x_n.

It is what a realism critic tells from the prior, and so what draws that content a perfect one would have: the floor of all that is
drawn in the latent space without labels. It is not a method to prefer, since it makes training samples again. As with real
data, to which it is the counterpart, no sample is taken twice before all have been taken.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from plumbline.models.latent._space import LatentSpace


class AggregatePosterior(nn.Module):
    """The mixture of the posteriors of training samples, with means (N, d) and deviations (N, d).

    Args:
        autoencoder: the trained autoencoder.
        components: N.
    """

    means: Tensor
    stds: Tensor

    def __init__(self, autoencoder: Any, *, components: int = 1000) -> None:
        super().__init__()
        self.space = LatentSpace(autoencoder)
        shape = components, self.space.numbers
        self.register_buffer("means", torch.zeros(shape))
        self.register_buffer("stds", torch.ones(shape))

    @torch.no_grad()
    def prepare(self, data: dict[str, Tensor]) -> None:
        """Encodes as many training samples as there are components."""
        chosen = each_once(len(data["state"]), len(self.means))
        means, variances = self.space.posterior_moments({name: x[chosen] for name, x in data.items()})
        self.means.copy_(means)
        self.stds.copy_(variances.sqrt())

    def latent_draws(self, batch: dict[str, Tensor]) -> Float[Tensor, "B d"]:
        """As many draws of q(z) as the batch has samples."""
        component = each_once(len(self.means), len(batch["state"])).to(self.means.device)
        return self.means[component] + self.stds[component] * torch.randn_like(self.means[component])

    def decode(self, z: Float[Tensor, "B d"], batch: dict[str, Tensor]) -> Float[Tensor, "B *S"]:
        """The samples of latent vectors, in the data's units."""
        return self.space.decode(z, batch)


def each_once(count: int, wanted: int) -> Int[Tensor, " W"]:
    """Indices below `count`, as many as wanted, in random order: each once before any twice."""
    rounds = -(-wanted // count)
    return torch.cat([torch.randperm(count) for _ in range(rounds)])[:wanted]

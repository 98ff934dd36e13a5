r"""A network that restores samples, in units of what is wrong with them.

The inverse map f of Feng, Baptista and Bouman (ICLR 2025) restores feasible samples from noisy ones, y = x + s e in the scaled
space. Where its output is the sample, or the sample less y, what the network gets wrong is alike large for all noise levels, and
bounds from below how near to the constraint it can bring a sample that was near already. Here its output is in units of
the noise, as that of a preconditioned denoiser is (Karras, Aittala, Aila, Laine 2022, table 1):

    f(y, s) = y + c(s) N(y, s),    c(s) = s / sqrt(1 + s^2),

so that the errors of N fall with s, and f(y, 0) = y. It is trained with log s ~ U[log noise_min, log noise_max] on

    [ |f(y, s) - x| / 2 + lambda l(f(y, s)) ] / c(s),

norms means over coordinates, l the constraint distance in the data's units, lambda in units of 0.4 / kappa, kappa the growth of l
with the noise: all levels weigh alike. Since f(y, 0) = y is the inverse of the identity alone, there is no such f for another map g.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._spaces import Standardisation
from plumbline.models.mirror._mirror_map import unit_of_weight
from plumbline.networks import SampleShape


class Restorer(nn.Module):
    """f of samples (B, *S), and the identity in the place of g.

    Args:
        sample: the shape of samples.
        constraint: the constraint that f restores.
        network: makes the network, conditioned on the noise level.
        noise_min: least noise level in training.
        noise_max: largest noise level in training.
        decoding_noise: noise level of each pass over generated samples.
        constraint_weight: lambda, in units of 0.4 / kappa.
    """

    weight: Tensor

    def __init__(
        self,
        sample: SampleShape,
        constraint: Constraint,
        *,
        network: Callable[[SampleShape], nn.Module],
        noise_min: float = 0.002,
        noise_max: float = 1.0,
        decoding_noise: tuple[float, ...] = (0.1, 0.03, 0.01, 0.003),
        constraint_weight: float = 3.0,
    ) -> None:
        super().__init__()
        self.constraint, self.noise_min, self.noise_max = constraint, noise_min, noise_max
        self.decoding_noise, self.constraint_weight = decoding_noise, constraint_weight
        self.space = Standardisation(sample.shape, "global")
        self.network = network(sample)
        self.register_buffer("weight", torch.tensor(constraint_weight))

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the scaling, and measures what white noise does to the constraint."""
        self.space.fit(data["state"])
        unit = unit_of_weight(self.constraint, data, self.space, self.noise_max)
        self.weight.fill_(self.constraint_weight * unit)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of restoring a generated sample."""
        return len(self.decoding_noise)

    def image(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The identity: g of scaled samples."""
        return z

    def decoded(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """f of generated samples in the scaled space, as often as there are noise levels to tell it."""
        restored = y.to(next(self.network.parameters()).dtype)
        for level in self.decoding_noise:
            restored = self.restored(restored, restored.new_full((1,), level))
        return restored.to(y.dtype)

    def restored(self, y: Float[Tensor, "B *S"], sigma: Float[Tensor, " #B"]) -> Float[Tensor, "B *S"]:
        """f of samples with noise of the standard deviations `sigma`, in the scaled space."""
        return y + _scale(sigma, y.ndim) * self.network(y, sigma.log())

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms in units of the noise: reconstruction and constraint distance."""
        z = self.space.encode(batch["state"])
        low, high = math.log(self.noise_min), math.log(self.noise_max)
        sigma = torch.exp(low + (high - low) * torch.rand(len(z), dtype=z.dtype, device=z.device))
        noisy = z + sigma.view(-1, *(1,) * (z.ndim - 1)) * torch.randn_like(z)
        restored = self.restored(noisy, sigma)
        unit = _scale(sigma, 1)
        distance = self.constraint.bind(batch).distance(self.space.decode(restored))
        terms = {
            "reconstruction": ((restored - z).abs().flatten(1).mean(1) / unit).mean(),
            "constraint": (distance / unit).mean(),
        }
        loss = terms["reconstruction"] / 2 + self.weight * terms["constraint"]
        return loss, {name: term.detach() for name, term in terms.items()}


def _scale(sigma: Tensor, dimensions: int) -> Tensor:
    """c(s), for samples of so many dimensions."""
    return (sigma / torch.sqrt(1 + sigma**2)).view(-1, *(1,) * (dimensions - 1))

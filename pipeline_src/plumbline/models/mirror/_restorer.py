r"""A network that restores samples, with an output in units of the noise.

The inverse map f of Feng, Baptista and Bouman (ICLR 2025) restores feasible samples from noisy ones,
y = x + s e in the scaled space. If its network predicts x or x - y, its error does not decrease with the
noise level s, and limits how close to the constraint it can bring a sample that is already close. Here the
output is in units of the noise, as in a preconditioned denoiser (Karras, Aittala, Aila, Laine 2022, table 1):

    f(y, s) = y + c(s) N(y, s),    c(s) = s / sqrt(1 + s^2),

so that the error of f decreases with s, and f(y, 0) = y. With log s ~ U[log noise_min, log noise_max] it is
trained on

    [ |f(y, s) - x| / 2 + lambda l(f(y, s)) ] / c(s),

where norms are means over coordinates, l is the constraint distance in the data's units, and lambda is in
units of 0.4 / kappa with kappa the growth of l with the noise. All noise levels have equal weight. Since
f(y, 0) = y is the inverse of the identity only, this f does not fit any other map g.

Sources: https://arxiv.org/abs/2406.12816; https://arxiv.org/abs/2206.00364.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock, first_samples
from plumbline.models._spaces import Standardisation
from plumbline.models.mirror._mirror_map import PROBES, unit_of_weight
from plumbline.networks import SampleShape


class Restorer(PreparedInBlocks, WithConstraints):
    """The map f of samples (B, *S), with the identity in place of g.

    Sources: the inverse map of Feng, Baptista, Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816, with the
    preconditioning of Karras et al. (2022), https://arxiv.org/abs/2206.00364.

    Args:
        sample: the shape of samples.
        constraint: the constraint that f restores.
        network: builds the network, conditioned on the noise level.
        noise_min: minimum noise level in training.
        noise_max: maximum noise level in training.
        decoding_noise: noise level of each pass over generated samples.
        constraint_weight: lambda, in units of 0.4 / kappa.

    Attributes:
        weight: lambda in units of the distance.
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

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scaling, and measures the sensitivity of the constraint distance to white noise."""
        self.space.fit_blocks(block["state"] for block in blocks)
        probes = first_samples(blocks, PROBES)
        unit = unit_of_weight(self.constraint, probes, self.space, self.noise_max)
        self.weight.fill_(self.constraint_weight * unit)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decoded`: one per pass."""
        return len(self.decoding_noise)

    def image(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The scaled samples themselves: g is the identity."""
        return z

    def decoded(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """f of generated samples in the scaled space, with one pass per decoding noise level."""
        restored = y.to(next(self.network.parameters()).dtype)
        for level in self.decoding_noise:
            restored = self.restored(restored, restored.new_full((1,), level))
        return restored.to(y.dtype)

    def restored(self, y: Float[Tensor, "B *S"], sigma: Float[Tensor, " #B"]) -> Float[Tensor, "B *S"]:
        """f of samples with noise of standard deviations `sigma`, in the scaled space."""
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
    """c(s), broadcastable to tensors with this number of dimensions."""
    return (sigma / torch.sqrt(1 + sigma**2)).view(-1, *(1,) * (dimensions - 1))

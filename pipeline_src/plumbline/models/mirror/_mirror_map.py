r"""The maps g and f of neural approximate mirror maps, and their loss (Feng, Baptista, Bouman, ICLR 2025).

In the scaled space, with a network N_g (such as the gradient of an input-convex potential) and a network N_f,

    g(x) = (1 - a) N_g(x) + a x,        f(y, s) = y + N_f(y, s),

where s is the standard deviation of the noise in y, in units of that of y. If N_g is monotone, so is the map
g(x) - a x: g is injective, and its inverse is Lipschitz with constant 1 / a. With noise e, a noise level
s ~ U[0, sigma_max] per sample and y = g(x) + s std(g(x)) e, the loss is

    w [ |f(g(x), 0) - x| + |f(y, s) - x| ] / 2 + lambda l(f(y, s)) + r |N_g(x)|,

where all norms are means over coordinates and l is the constraint distance in the data's units. The published
loss has |g(f(y)) - y| in place of |f(y, s) - x|, and no std. It rewards f for keeping the noise that the
constraint requires it to remove: for white noise the constraint prevails only if lambda kappa > 0.4, where
kappa is the growth of l with the noise. In units of 0.4 / kappa, lambda means the same for every constraint.

Samples of a diffusion model are not g(x) plus white noise. Their errors are structured, such as one tile that
differs from the next. If f is trained on high noise levels and conditioned on a high one, it corrects such
errors but loses detail. A second pass over the image of the first result, conditioned on a lower noise level,
restores the detail.

Source: https://arxiv.org/abs/2406.12816.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock, first_samples
from plumbline.models._spaces import Scaling, Standardisation
from plumbline.networks import SampleShape
from plumbline.networks._input_convex import InputConvexGradient

# Smallest noise level that f is conditioned on, also for images without noise: its logarithm must be finite.
NO_NOISE = 1e-3


class LearnedMirrorMap(PreparedInBlocks, WithConstraints):
    """The maps g and f of samples (B, *S).

    Source: Feng, Baptista, Bouman (ICLR 2025), https://arxiv.org/abs/2406.12816.

    Args:
        sample: the shape of samples.
        constraint: the constraint that f restores.
        forward: builds the network of g, which is mixed with the identity.
        inverse: builds the network of f, conditioned on the noise level.
        strong_convexity: a in g(x) = (1 - a) N_g(x) + a x; at one, g is the identity.
        scaling: how samples are standardised.
        sigma_max: maximum standard deviation of the noise that f is trained on.
        noise_unit: unit of noise: the standard deviation of the images (`image`), or of the space (`space`).
        decoding_noise: noise level of each pass of f over generated samples.
        cycle_weight: w, the weight of the reconstruction.
        noisy_target: target for a noisy image: the state (`state`), or the noisy image (`image`).
        constraint_weight: lambda.
        constraint_unit: unit of lambda: 0.4 over the sensitivity (`sensitivity`), or one (`distance`).
        regularisation_weight: r, the weight of the mean absolute output of the network of g.
        residual: whether f adds its network's output to the image.
        activation: the final activation of f.

    Attributes:
        weight: lambda in units of the distance.
    """

    weight: Tensor

    def __init__(
        self,
        sample: SampleShape,
        constraint: Constraint,
        *,
        forward: Callable[[SampleShape], nn.Module],
        inverse: Callable[[SampleShape], nn.Module],
        strong_convexity: float = 0.9,
        scaling: Scaling = "global",
        sigma_max: float = 0.1,
        noise_unit: Literal["image", "space"] = "image",
        decoding_noise: tuple[float, ...] = (0.05,),
        cycle_weight: float = 1.0,
        noisy_target: Literal["state", "image"] = "state",
        constraint_weight: float = 3.0,
        constraint_unit: Literal["sensitivity", "distance"] = "sensitivity",
        regularisation_weight: float = 1e-3,
        residual: bool = True,
        activation: Literal["none", "softplus"] = "none",
    ) -> None:
        super().__init__()
        self.constraint, self.strong_convexity, self.sigma_max = constraint, strong_convexity, sigma_max
        self.noise_unit, self.decoding_noise = noise_unit, decoding_noise
        self.cycle_weight, self.noisy_target = cycle_weight, noisy_target
        self.constraint_weight, self.constraint_unit = constraint_weight, constraint_unit
        self.regularisation_weight, self.residual, self.activation = (
            regularisation_weight,
            residual,
            activation,
        )
        self.space = Standardisation(sample.shape, scaling)
        self.forward_network = _Zero() if self._is_identity else forward(sample)
        self.inverse_network = inverse(sample)
        self.register_buffer("weight", torch.tensor(constraint_weight))

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the scaling, and measures the sensitivity of the constraint distance to white noise."""
        self.space.fit_blocks(block["state"] for block in blocks)
        unit = self.unit_of_weight(self.constraint, first_samples(blocks, PROBES))
        self.weight.fill_(self.constraint_weight * unit)

    def unit_of_weight(self, constraint: Constraint, data: dict[str, Tensor]) -> float:
        """The factor of the constraint distance at a weight of one, from the first samples."""
        if self.constraint_unit == "distance":
            return 1.0
        return unit_of_weight(constraint, data, self.space, self.sigma_max)

    def image(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The images g(z) of scaled samples."""
        network = self.network_output(z.to(self._dtype()))
        return self.mixed(network, z)

    def decoded(self, y: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """f of generated images, with one pass per decoding noise level and g between passes."""
        return self.passes(y.to(self._dtype()))[-1][1].to(y.dtype)

    @property
    def decoding_evaluations(self) -> int:
        """Network evaluations of one `decoded`: f in every pass, and g between passes."""
        passes = len(self.decoding_noise)
        return passes if self._is_identity else 2 * passes - 1

    def passes(self, y: Float[Tensor, "B *S"]) -> list[tuple[Tensor, Tensor]]:
        """The input and the result of each pass of f over generated images."""
        found: list[tuple[Tensor, Tensor]] = []
        for level in self.decoding_noise:
            given = self.image(found[-1][1]) if found else y
            found.append(
                (given, self.restored(given, torch.full((1,), level, dtype=y.dtype, device=y.device)))
            )
        return found

    def noised(
        self, y: Float[Tensor, "B *S"], sigma: Float[Tensor, " B"], images: Float[Tensor, "B *S"]
    ) -> Float[Tensor, "B *S"]:
        """y with white noise of `sigma` in the unit of noise, which may be the std of `images`."""
        # With an absolute unit, g could make the noise negligible by scaling images up, and the errors of the
        # diffusion model with them.
        unit = images.std() if self.noise_unit == "image" else 1.0
        return y + unit * sigma.view(-1, *(1,) * (y.ndim - 1)) * torch.randn_like(y)

    def network_output(self, z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The output N_g(z) of the network of g."""
        return self.forward_network(z, torch.zeros((), dtype=z.dtype, device=z.device))

    def mixed(self, network: Float[Tensor, "B *S"], z: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """g from the output of its network: (1 - a) N_g(z) + a z."""
        a = self.strong_convexity
        return (1 - a) * network.to(z.dtype) + a * z

    def restored(self, y: Float[Tensor, "B *S"], sigma: Float[Tensor, " #B"]) -> Float[Tensor, "B *S"]:
        """f of images with noise of standard deviations `sigma`."""
        level = sigma.clamp(min=NO_NOISE).log()
        output = self.inverse_network(y, level)
        output = y + output if self.residual else output
        return nn.functional.softplus(output) if self.activation == "softplus" else output

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms: reconstructions, constraint distance, regularisation."""
        z = self.space.encode(batch["state"])
        network = self.network_output(z)
        y = self.mixed(network, z)
        sigma = self.sigma_max * torch.rand(len(z), dtype=z.dtype, device=z.device)
        noisy = self.noised(y, sigma, y.detach())
        # One pass of f for clean and noisy images.
        clean, restored = self.restored(
            torch.cat([y, noisy]), torch.cat([torch.zeros_like(sigma), sigma])
        ).chunk(2)
        terms = {
            "reconstruction": (clean - z).abs().mean(),
            "noisy_reconstruction": self._noisy_reconstruction(restored, z, noisy),
            "constraint": self.constraint.bind(batch).distance(self.space.decode(restored)).mean(),
            "regularisation": network.abs().mean(),
        }
        loss = (
            self.cycle_weight * (terms["reconstruction"] + terms["noisy_reconstruction"]) / 2
            + self.weight * terms["constraint"]
            + self.regularisation_weight * terms["regularisation"]
        )
        return loss, {name: term.detach() for name, term in terms.items()}

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Projects the weights of a convex potential to nonnegative values."""
        for module in self.forward_network.modules():
            if isinstance(module, InputConvexGradient):
                module.project_weights()

    def _noisy_reconstruction(self, restored: Tensor, z: Tensor, noisy: Tensor) -> Tensor:
        if self.noisy_target == "state":
            return (restored - z).abs().mean()
        return (self.image(restored) - noisy).abs().mean()

    @property
    def _is_identity(self) -> bool:
        return self.strong_convexity == 1

    def _dtype(self) -> torch.dtype:
        return next(self.inverse_network.parameters()).dtype


class _Zero(nn.Module):
    """N_g where g is the identity and needs no network."""

    def forward(self, z: Tensor, level: Tensor) -> Tensor:
        return torch.zeros_like(z)


# Cost of removing noise of unit standard deviation in |g(f(y)) - y| / 2: half of E|e|.
NOISE_COST = 0.4
# Maximum number of samples on which the sensitivity is measured.
PROBES = 256


def unit_of_weight(
    constraint: Constraint, data: dict[str, Tensor], space: Standardisation, sigma: float
) -> float:
    """0.4 / kappa, with kappa the sensitivity of the distance to noise of `sigma` on the first samples."""
    probes = {name: tensor[:PROBES] for name, tensor in data.items()}
    return NOISE_COST / sensitivity(constraint, probes, space, sigma)


@torch.no_grad()
def sensitivity(
    constraint: Constraint, batch: dict[str, Tensor], space: Standardisation, sigma: float
) -> float:
    """The mean constraint distance of samples with noise of `sigma` in a space, divided by `sigma`."""
    z = space.encode(batch["state"])
    noisy = space.decode(z + sigma * torch.randn_like(z))
    return float(constraint.bind(batch).distance(noisy).mean() / sigma)

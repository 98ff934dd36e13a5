r"""What the network of a denoiser predicts: Karras' combination of sample and noise, or the velocity.

Let x_t = alpha x + sigma e. The velocity refers to the straight path between sample and noise, whatever the
schedule:

    y = x_t / (alpha + sigma) = (1 - tau) x + tau e,    tau = sigma / (alpha + sigma),
    v = dy / dtau = e - x.

The network predicts E[v | x_t] from y, and the denoiser is m(x_t) = y - tau v. With the schedule `rectified`
and uniform times, the loss |v - (e - x)|^2 is that of flow matching (Lipman et al. 2023,
https://arxiv.org/abs/2210.02747; Liu et al. 2023, https://arxiv.org/abs/2209.03003).

Both losses weigh the squared error of m, Karras' by (alpha^2 + sigma^2) / sigma^2 and the velocity's by
(alpha + sigma)^2 / sigma^2, which is larger by a factor between one and two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, runtime_checkable

import torch
from azula.denoise import Denoiser, DiracPosterior, KarrasDenoiser
from azula.nn.utils import get_module_dtype
from azula.noise import Schedule
from jaxtyping import Float
from torch import Tensor, nn

Parametrisation = Literal["karras", "velocity"]


@runtime_checkable
class TrainableDenoiser(Protocol):
    """A denoiser with its loss for given noise."""

    schedule: Schedule

    def __call__(
        self, x_t: Float[Tensor, "B *S"], t: Float[Tensor, "*B"], **conditions: Tensor
    ) -> DiracPosterior:
        """The posterior, whose mean is the clean estimate."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights."""
        ...

    def loss_and_mean(
        self,
        z: Float[Tensor, "B *S"],
        noise: Float[Tensor, "B *S"],
        t: Float[Tensor, " B"],
        **conditions: Tensor,
    ) -> tuple[Tensor, Float[Tensor, "B *S"]]:
        """The mean loss () of samples z with this noise at times t, and the clean estimates."""
        ...


def denoised(
    x_t: Float[Tensor, "B *S"], velocity: Float[Tensor, "B *S"], alpha: Tensor, sigma: Tensor
) -> Float[Tensor, "B *S"]:
    """The clean estimate m from the velocity of the straight path; alpha and sigma broadcast to x_t."""
    return (x_t - sigma * velocity) / (alpha + sigma)


def velocity_of(
    x_t: Float[Tensor, "B *S"], mean: Float[Tensor, "B *S"], alpha: Tensor, sigma: Tensor
) -> Float[Tensor, "B *S"]:
    """The velocity of the straight path from the clean estimate m; sigma must not be zero."""
    return (x_t - (alpha + sigma) * mean) / sigma


class PreconditionedDenoiser(KarrasDenoiser):
    """azula's denoiser with the preconditioning of Karras et al. (2022, https://arxiv.org/abs/2206.00364)."""

    def loss_and_mean(
        self,
        z: Float[Tensor, "B *S"],
        noise: Float[Tensor, "B *S"],
        t: Float[Tensor, " B"],
        **conditions: Tensor,
    ) -> tuple[Tensor, Float[Tensor, "B *S"]]:
        """azula's loss, for given noise: the squared error times (alpha^2 + sigma^2) / sigma^2."""
        alpha, sigma = like(z, *self.schedule(t))
        mean = self(alpha * z + sigma * noise, t, **conditions).mean
        weight = (alpha / sigma) ** 2 + 1
        return (weight * (mean - z).square()).mean(), mean


class VelocityDenoiser(Denoiser):
    """A denoiser whose network predicts the velocity of the straight path between sample and noise.

    Args:
        backbone: the network; it takes y and log(sigma / alpha), as in azula's denoisers.
        schedule: the noise schedule.
    """

    def __init__(self, backbone: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.backbone, self.schedule = backbone, schedule

    def velocity(
        self, x_t: Float[Tensor, "B *S"], t: Float[Tensor, "*B"], **conditions: Tensor
    ) -> Float[Tensor, "B *S"]:
        """The predicted velocity E[e - x | x_t], in the dtype of x_t."""
        alpha, sigma = like(x_t, *self.schedule(t))
        dtype = get_module_dtype(self.backbone)
        level = torch.log(sigma / alpha).reshape_as(t)
        predicted: Tensor = self.backbone((x_t / (alpha + sigma)).to(dtype), level.to(dtype), **conditions)
        return predicted.to(x_t)

    def forward(
        self, x_t: Float[Tensor, "B *S"], t: Float[Tensor, "*B"], **conditions: Tensor
    ) -> DiracPosterior:
        """The clean estimate m."""
        velocity = self.velocity(x_t, t, **conditions)
        return DiracPosterior(denoised(x_t, velocity, *like(x_t, *self.schedule(t))))

    def loss_and_mean(
        self,
        z: Float[Tensor, "B *S"],
        noise: Float[Tensor, "B *S"],
        t: Float[Tensor, " B"],
        **conditions: Tensor,
    ) -> tuple[Tensor, Float[Tensor, "B *S"]]:
        """The mean squared error of the velocity, and the clean estimates."""
        alpha, sigma = like(z, *self.schedule(t))
        x_t = alpha * z + sigma * noise
        velocity = self.velocity(x_t, t, **conditions)
        loss = (velocity - (noise - z)).square().mean()
        return loss, denoised(x_t, velocity, alpha, sigma)


def like(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Values () or (B,) with the dimensions of x (B, ...)."""
    return tuple(value.reshape(-1, *(1,) * (x.ndim - 1)) if value.ndim else value for value in values)


PARAMETRISATIONS: dict[str, type[PreconditionedDenoiser] | type[VelocityDenoiser]] = {
    "karras": PreconditionedDenoiser,
    "velocity": VelocityDenoiser,
}
"""The denoiser of a backbone and a schedule, by what the backbone predicts."""

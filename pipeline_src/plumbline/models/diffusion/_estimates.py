r"""Noisy batches, and estimates of their clean samples that a loss differentiates through.

With the denoiser m, deterministic steps (DDIM: Song, Meng, Ermon 2021, https://arxiv.org/abs/2010.02502) go
from x_t = alpha_t x + sigma_t e through times t = t_1 >= t_2 >= ... >= t_n,

    x_{k+1} = alpha_{k+1} m(x_k, t_k) + (sigma_{k+1} / sigma_k) (x_k - alpha_k m(x_k, t_k)),

and the estimate is m(x_n, t_n). With one time it is the denoiser's mean. On a rectified schedule these are
the Euler steps of flow matching.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.models.diffusion._parametrisations import TrainableDenoiser, like
from plumbline.samplers._models import Space


@dataclass(frozen=True)
class NoisyBatch:
    """A batch with its noise, as the losses with a residual see it.

    Attributes:
        denoiser: the denoiser, without the whitening of coloured noise.
        z: the clean samples in its space (B, *S).
        noise: the noise (B, *S), white or coloured.
        t: the times (B,).
        conditions: the denoiser's keyword arguments.
        residual: the residuals (B, ...) of clean samples in that space, of the samples in the data's units.
    """

    denoiser: TrainableDenoiser
    z: Float[Tensor, "B *S"]
    noise: Float[Tensor, "B *S"]
    t: Float[Tensor, " B"]
    conditions: Mapping[str, Tensor]
    residual: Callable[[Tensor], Tensor]

    def loss_and_mean(self) -> tuple[Tensor, Float[Tensor, "B *S"]]:
        """The denoiser's own loss (), and its estimate of the clean samples."""
        return self.denoiser.loss_and_mean(self.z, self.noise, self.t, **self.conditions)

    def estimate(self, mean: Float[Tensor, "B *S"], times: Sequence[Tensor]) -> Float[Tensor, "B *S"]:
        """The estimate of the clean samples by deterministic steps.

        Args:
            mean: the denoiser's estimate at the first time, which is `t`.
            times: the times (B,) of all network evaluations, the first of which is `t`.
        """
        alpha, sigma = self.levels(self.t)
        x = alpha * self.z + sigma * self.noise
        for now, then in pairwise(times):
            (alpha, sigma), (next_alpha, next_sigma) = self.levels(now), self.levels(then)
            x = next_alpha * mean + next_sigma / sigma * (x - alpha * mean)
            mean = self.denoiser(x, then, **self.conditions).mean
        return mean

    def levels(self, t: Float[Tensor, " B"]) -> tuple[Tensor, ...]:
        """alpha_t and sigma_t, with the dimensions of the samples."""
        return like(self.z, *self.denoiser.schedule(t))


@runtime_checkable
class ResidualLoss(Protocol):
    """A loss of denoising and of the residuals of estimates."""

    def loss(self, batch: NoisyBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss (), and its terms () for the log: `denoising`, and `residual`, the mean absolute one."""
        ...

    def after_step(self) -> None:
        """Notes that the optimiser has taken a step."""
        ...

    def go_to(self, step: int) -> None:
        """Moves to a step of the training."""
        ...


def residual_in(space: Space, constraint: Constraint) -> Callable[[Tensor], Tensor]:
    """The residuals of samples that are given in a model's space, in their own precision.

    Args:
        space: the space.
        constraint: the constraint, bound to the samples.
    """

    def residual(z: Tensor) -> Tensor:
        device = z.device.type
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return constraint.residual(space.decode(z))
        with torch.autocast(device, enabled=False):
            return constraint.residual(space.decode(z))

    return residual

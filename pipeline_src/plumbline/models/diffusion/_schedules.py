r"""Noise schedules as azula's, with the law of the times that a model is trained at.

A schedule says alpha_t and sigma_t of x_t = alpha_t x + sigma_t e; what is known of x depends on their ratio
rho = sigma_t / alpha_t alone, which grows with t, so that each ratio has its time.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from azula.noise import Schedule, VPSchedule
from jaxtyping import Float
from torch import Tensor

from plumbline.models.diffusion.diffusion import EDMScheduleSpec, VPScheduleSpec, VPSDEScheduleSpec


@runtime_checkable
class TrainedSchedule(Protocol):
    """A schedule that knows which times to train at, and at which time a ratio of noise to signal is reached."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t."""
        ...

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Times in [0, 1] from uniform numbers, by the inverse distribution function."""
        ...

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The time t with sigma_t / alpha_t of this value."""
        ...


class EDMSchedule(Schedule):
    """Karras et al. (2022), eq. 5 with t = 0 at the smallest noise; training levels as in their table 1."""

    def __init__(self, spec: EDMScheduleSpec) -> None:
        self.spec = spec
        self.low = spec.sigma_min ** (1 / spec.rho)
        self.high = spec.sigma_max ** (1 / spec.rho)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t = 1 and sigma_t."""
        return torch.ones_like(t), (self.low + t * (self.high - self.low)) ** self.spec.rho

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Times at which log sigma is normal, cut to the range of the schedule."""
        log_sigma = self.spec.log_sigma_mean + self.spec.log_sigma_std * torch.special.ndtri(uniform)
        return self.time_of(log_sigma.exp().clamp(self.spec.sigma_min, self.spec.sigma_max))

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The time at which sigma_t is this."""
        return (ratio ** (1 / self.spec.rho) - self.low) / (self.high - self.low)


class UniformVPSchedule(VPSchedule):
    """azula's variance-preserving schedule, trained at uniform times."""

    def __init__(self, spec: VPScheduleSpec) -> None:
        super().__init__(alpha_min=spec.alpha_min, sigma_min=spec.sigma_min)

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves."""
        return uniform

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """From alpha_t^2 = (1 + sigma_min^2) / (1 + rho^2)."""
        log_alpha = 0.5 * (math.log1p(self.sigma_min**2) - torch.log1p(ratio**2))
        return (log_alpha / math.log(self.alpha_min)).sqrt()


class VPSDESchedule(Schedule):
    """Song et al. (2021), eq. 33, with t = 0 at the time at which sampling ends."""

    def __init__(self, spec: VPSDEScheduleSpec) -> None:
        self.spec = spec

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t."""
        spec = self.spec
        time = spec.first_time + t * (1 - spec.first_time)
        log_alpha = -0.25 * time**2 * (spec.beta_max - spec.beta_min) - 0.5 * time * spec.beta_min
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves."""
        return uniform

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """From -log alpha_t = log(1 + rho^2) / 2, a quadratic equation of the time."""
        spec, rest = self.spec, 0.5 * torch.log1p(ratio**2)
        slope = spec.beta_max - spec.beta_min
        time = 2 * rest / (0.5 * spec.beta_min + (0.25 * spec.beta_min**2 + slope * rest).sqrt())
        return (time - spec.first_time) / (1 - spec.first_time)


def stratified_times(schedule: TrainedSchedule, count: int, like: Tensor) -> Float[Tensor, " B"]:
    """Training times, one in each of `count` equal shares of their law, in random order."""
    offsets = torch.rand(count, device=like.device)
    uniform = (torch.randperm(count, device=like.device) + offsets) / count
    return schedule.training_times(uniform.clamp(1e-6, 1 - 1e-6)).to(like.dtype)

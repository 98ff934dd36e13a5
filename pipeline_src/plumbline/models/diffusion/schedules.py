"""Noise schedules as azula's, with the law of the times that a model is trained at."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from azula.noise import Schedule, VPSchedule
from jaxtyping import Float
from torch import Tensor

from plumbline.models.diffusion import EDMScheduleSpec, VPScheduleSpec, VPSDEScheduleSpec


@runtime_checkable
class TrainingTimes(Protocol):
    """A schedule that knows which times to train at."""

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Times in [0, 1] from uniform numbers, by the inverse distribution function."""
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
        sigma = log_sigma.exp().clamp(self.spec.sigma_min, self.spec.sigma_max)
        return (sigma ** (1 / self.spec.rho) - self.low) / (self.high - self.low)


class UniformVPSchedule(VPSchedule):
    """azula's variance-preserving schedule, trained at uniform times."""

    def __init__(self, spec: VPScheduleSpec) -> None:
        super().__init__(alpha_min=spec.alpha_min, sigma_min=spec.sigma_min)

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves."""
        return uniform


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


def build_schedule(
    spec: EDMScheduleSpec | VPScheduleSpec | VPSDEScheduleSpec,
) -> EDMSchedule | UniformVPSchedule | VPSDESchedule:
    """The schedule that a spec names."""
    if isinstance(spec, EDMScheduleSpec):
        return EDMSchedule(spec)
    return VPSDESchedule(spec) if isinstance(spec, VPSDEScheduleSpec) else UniformVPSchedule(spec)


def stratified_times(schedule: TrainingTimes, count: int, like: Tensor) -> Float[Tensor, " B"]:
    """Training times, one in each of `count` equal shares of their law, in random order."""
    offsets = torch.rand(count, device=like.device)
    uniform = (torch.randperm(count, device=like.device) + offsets) / count
    return schedule.training_times(uniform.clamp(1e-6, 1 - 1e-6)).to(like.dtype)

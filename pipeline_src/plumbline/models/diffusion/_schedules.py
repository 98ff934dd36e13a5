r"""Noise schedules with the interface of azula's, and the distribution of times that a model is trained at.

A schedule gives alpha_t and sigma_t of x_t = alpha_t x + sigma_t e. What x_t reveals about x depends only on
the ratio rho = sigma_t / alpha_t, which grows with t, so that each ratio is reached at one time.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from azula.noise import CosineSchedule, RectifiedSchedule, Schedule, VPSchedule
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class TrainedSchedule(Protocol):
    """A schedule with a distribution of training times and the inverse of its noise-to-signal ratio."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t."""
        ...

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Training times in [0, 1] from uniform random numbers, by the inverse distribution function."""
        ...

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The time t at which sigma_t / alpha_t has this value."""
        ...


class EDMSchedule(Schedule):
    """The schedule of Karras et al. (2022), eq. 5, with t = 0 at the smallest noise.

    Training noise levels are log-normal, as in their table 1. Source: https://arxiv.org/abs/2206.00364.

    Args:
        sigma_min: noise level at the end of sampling.
        sigma_max: noise level at the start of sampling.
        rho: exponent of the spacing; larger values spend more steps on small noise.
        log_sigma_mean: mean of log sigma in training.
        log_sigma_std: standard deviation of log sigma in training.
    """

    def __init__(
        self,
        *,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
    ) -> None:
        self.sigma_min, self.sigma_max, self.rho = sigma_min, sigma_max, rho
        self.log_sigma_mean, self.log_sigma_std = log_sigma_mean, log_sigma_std
        self.low = sigma_min ** (1 / rho)
        self.high = sigma_max ** (1 / rho)

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t = 1 and sigma_t."""
        return torch.ones_like(t), (self.low + t * (self.high - self.low)) ** self.rho

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Times at which log sigma is normally distributed, clamped to the range of the schedule."""
        log_sigma = self.log_sigma_mean + self.log_sigma_std * torch.special.ndtri(uniform)
        return self.time_of(log_sigma.exp().clamp(self.sigma_min, self.sigma_max))

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The time at which sigma_t has this value."""
        return (ratio ** (1 / self.rho) - self.low) / (self.high - self.low)


class UniformVPSchedule(VPSchedule):
    """azula's variance-preserving schedule (Ho et al. 2020, https://arxiv.org/abs/2006.11239).

    Training times are uniform.
    """

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves."""
        return uniform

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """From alpha_t^2 = (1 + sigma_min^2) / (1 + rho^2)."""
        log_alpha = 0.5 * (math.log1p(self.sigma_min**2) - torch.log1p(ratio**2))
        return (log_alpha / math.log(self.alpha_min)).sqrt()


class UniformCosineSchedule(CosineSchedule):
    """azula's cosine schedule, alpha_t = cos(t arccos alpha_min), of Nichol and Dhariwal (2021).

    Source: https://arxiv.org/abs/2102.09672, without their small offset. Training times are uniform.
    """

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves."""
        return uniform

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """From alpha_t^2 = (1 + sigma_min^2) / (1 + rho^2)."""
        square = (1 + self.sigma_min**2) / (1 + ratio**2)
        return square.sqrt().clamp(max=1).acos() / math.acos(self.alpha_min)


class VPSDESchedule(Schedule):
    """The variance-preserving SDE of Song et al. (2021), eq. 33, with t = 0 where sampling ends.

    Source: https://arxiv.org/abs/2011.13456. Training times are uniform.

    Args:
        beta_min: noise rate at time zero.
        beta_max: noise rate at time one.
        first_time: time at which sampling ends, and the smallest time in training.
    """

    def __init__(self, *, beta_min: float = 0.1, beta_max: float = 20.0, first_time: float = 1e-3) -> None:
        self.beta_min, self.beta_max, self.first_time = beta_min, beta_max, first_time

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t."""
        time = self.first_time + t * (1 - self.first_time)
        log_alpha = -0.25 * time**2 * (self.beta_max - self.beta_min) - 0.5 * time * self.beta_min
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves."""
        return uniform

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """From -log alpha_t = log(1 + rho^2) / 2, a quadratic equation in the time."""
        rest = 0.5 * torch.log1p(ratio**2)
        slope = self.beta_max - self.beta_min
        time = 2 * rest / (0.5 * self.beta_min + (0.25 * self.beta_min**2 + slope * rest).sqrt())
        return (time - self.first_time) / (1 - self.first_time)


class FlowSchedule(RectifiedSchedule):
    """azula's schedule alpha_t = 1 - t (1 - alpha_min) and sigma_t = sigma_min + t (1 - sigma_min).

    It is that of flow matching. Training times are uniform (Lipman et al. 2023,
    https://arxiv.org/abs/2210.02747), or logit-normal, which puts more of them in the middle (Esser et al.
    2024, eq. 19, https://arxiv.org/abs/2403.03206).

    Args:
        alpha_min: alpha at t = 1.
        sigma_min: sigma at t = 0.
        logit_std: standard deviation of the logit of training times; None for uniform times.
        logit_mean: mean of the logit.
    """

    def __init__(
        self,
        *,
        alpha_min: float = 1e-3,
        sigma_min: float = 1e-3,
        logit_std: float | None = None,
        logit_mean: float = 0.0,
    ) -> None:
        super().__init__(alpha_min=alpha_min, sigma_min=sigma_min)
        self.logit_std, self.logit_mean = logit_std, logit_mean

    def training_times(self, uniform: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The uniform numbers themselves, or times with a normal logit."""
        if self.logit_std is None:
            return uniform
        return torch.sigmoid(self.logit_mean + self.logit_std * torch.special.ndtri(uniform))

    def time_of(self, ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """From sigma_t = rho alpha_t, which is linear in the time."""
        return (ratio - self.sigma_min) / (1 - self.sigma_min + ratio * (1 - self.alpha_min))


def stratified_times(schedule: TrainedSchedule, count: int, like: Tensor) -> Float[Tensor, " B"]:
    """Training times (count,), one from each of `count` equally likely intervals, in random order."""
    offsets = torch.rand(count, device=like.device)
    uniform = (torch.randperm(count, device=like.device) + offsets) / count
    return schedule.training_times(uniform.clamp(1e-6, 1 - 1e-6)).to(like.dtype)

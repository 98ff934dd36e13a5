"""Noise-to-signal ratios of a schedule, sigma_t / alpha_t, and the times at which it has them."""

from __future__ import annotations

import torch
from azula.noise import Schedule
from jaxtyping import Float
from torch import Tensor

# Number of halvings of [0, 1], after which the time is exact to rounding in double precision.
HALVINGS = 52
# Smallest alpha that is divided by, where a schedule ends without a signal.
SMALLEST_ALPHA = 1e-6


def ratio_at(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma_t / alpha_t at times t, large but finite where alpha_t is zero."""
    alpha, sigma = schedule(t)
    return sigma / alpha.clamp(min=SMALLEST_ALPHA)


def times_at(schedule: Schedule, ratios: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The times in [0, 1] at which sigma_t / alpha_t, which grows with t, has these values.

    Ratios that the schedule does not reach give its nearest end.

    Args:
        schedule: the schedule.
        ratios: the values, in double precision.
    """
    low, high = torch.zeros_like(ratios), torch.ones_like(ratios)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        reached = ratio_at(schedule, middle) >= ratios
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


def time_at(schedule: Schedule, ratio: float) -> float:
    """The time in [0, 1] at which sigma_t / alpha_t has this value, or the schedule's nearest end."""
    return float(times_at(schedule, torch.tensor([ratio], dtype=torch.float64)))

"""Noise-to-signal ratios of a schedule, sigma_t / alpha_t, and the times at which it has them."""

from __future__ import annotations

import math

import torch
from azula.noise import Schedule
from torch import Tensor

# Number of halvings of [0, 1], after which the time is exact to rounding in double precision.
HALVINGS = 52
# Smallest alpha that is divided by, where a schedule ends without a signal.
SMALLEST_ALPHA = 1e-6


def ratio_at(schedule: Schedule, t: Tensor) -> Tensor:
    """sigma_t / alpha_t at times t, large but finite where alpha_t is zero."""
    alpha, sigma = schedule(t)
    return sigma / alpha.clamp(min=SMALLEST_ALPHA)


def time_at(schedule: Schedule, ratio: float) -> float:
    """The time in [0, 1] at which sigma_t / alpha_t, which grows with t, has this value.

    Ratios that the schedule does not reach give its nearest end.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        here = float(ratio_at(schedule, torch.tensor(middle, dtype=torch.float64)))
        if math.isnan(here) or here < ratio:
            low = middle
        else:
            high = middle
    return high

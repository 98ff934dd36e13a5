"""A denoiser that counts its evaluations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azula.denoise import Denoiser, Posterior
from torch import Tensor

from plumbline.samplers import Costs


class CountingDenoiser(Denoiser):
    """Wraps a denoiser: adds one to `costs.network_evaluations`, then calls `notify`, for each evaluation."""

    def __init__(self, denoiser: Denoiser, costs: Costs, notify: Callable[[], None]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.costs = costs
        self.notify = notify

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Posterior:
        """The posterior of the wrapped denoiser, of the shape of `x_t` (B, ...)."""
        self.costs.network_evaluations += 1
        self.notify()
        return self.denoiser(x_t, t, **conditions)

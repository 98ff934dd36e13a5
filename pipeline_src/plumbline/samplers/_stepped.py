"""An azula sampler whose step is a function: what the iterative samplers of this room share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from azula.denoise import Denoiser
from azula.sample import Sampler
from torch import Tensor


class Step(Protocol):
    """One step of a sampler, from the time t to the time s; of the shape of `x_t` (B, ...)."""

    def __call__(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Any) -> Tensor:
        """The point x_s."""
        ...


class SteppedSampler(Sampler):
    """Calls `step(denoiser, x_t, t, s, **conditions)` from each time to the next.

    Args:
        denoiser: the denoiser.
        step: one step.
        steps: number of steps.
        start: first time.
        stop: last time.
        times: the times as a function of the sampler; equal steps from `start` to `stop` unless it is given.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        step: Step,
        *,
        steps: int,
        start: float = 1.0,
        stop: float = 0.0,
        times: Callable[[Sampler], Tensor] | None = None,
    ) -> None:
        super().__init__(start=start, stop=stop, steps=steps, silent=True)
        self.denoiser, self._step, self._times = denoiser, step, times

    @property
    def timesteps(self) -> Tensor:
        """The times (steps + 1,), from noise to data."""
        return super().timesteps if self._times is None else self._times(self)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Any) -> Tensor:
        """The point at time s, of the shape of `x_t` (B, ...)."""
        return self._step(self.denoiser, x_t, t, s, **conditions)

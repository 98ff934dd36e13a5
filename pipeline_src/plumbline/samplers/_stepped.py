"""An azula sampler whose step is a given function, shared by the iterative samplers of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from azula.denoise import Denoiser
from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers import WrappingSpec


class Step(Protocol):
    """One step of a sampler, from time t to time s. The result has the shape of `x_t` (B, ...)."""

    def __call__(self, denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, **conditions: object) -> Tensor:
        """The point x_s."""
        ...


class SteppedSampler(Sampler):
    """Calls `step(denoiser, x_t, t, s, **conditions)` from each time to the next.

    Args:
        denoiser: the denoiser.
        step: the function that takes one step.
        steps: number of steps.
        start: first time.
        stop: last time.
        times: a function from the sampler to its times; None for equal steps from `start` to `stop`.
        begin: called with the first state (B, ...) of each run, for steps that keep something of it.
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
        begin: Callable[[Tensor], None] | None = None,
    ) -> None:
        super().__init__(start=start, stop=stop, steps=steps, silent=True)
        self.denoiser, self._step, self._times, self._begin = denoiser, step, times, begin

    @property
    def timesteps(self) -> Tensor:
        """The times (steps + 1,), in decreasing order: from noise to data."""
        return super().timesteps if self._times is None else self._times(self)

    def __call__(self, x: Tensor, **conditions: object) -> Tensor:
        """Takes all steps from the first state `x` (B, ...)."""
        self.begin(x)
        return super().__call__(x, **conditions)

    def begin(self, x: Tensor) -> None:
        """Prepares the steps of a run that starts at `x` (B, ...)."""
        if self._begin is not None:
            self._begin(x)

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, **conditions: object) -> Tensor:
        """Takes one step from `x_t` (B, ...) at time t to time s."""
        return self._step(self.denoiser, x_t, t, s, **conditions)


def require_single_steps(base: Sampler, spec: WrappingSpec) -> None:
    """Raises a ValueError unless the base of a sampler takes steps that do not depend on those before."""
    if type(base).step is Sampler.step:
        raise ValueError(
            f"`{spec.kind}` takes single steps of its base, and those of `{spec.base.kind}` depend on each "
            "other: wrap `ddim`, `heun` or `flow`."
        )

"""What azula's samplers of inverse problems need besides: counted backward passes, flat points, weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from azula.denoise import Denoiser, DiracPosterior, Posterior
from azula.guidance.tds import TDSSampler
from jaxtyping import Float
from torch import Tensor

from plumbline.samplers._population import effective_sample_size, require_one_condition
from plumbline.samplers._task import Costs

OTHERWISE = "use `twisted_smc` with `population: per_sample`"
"""What to do where the samples of a batch cannot share a population of TDS."""


class BackwardCounter(Denoiser):
    """Wraps a denoiser. Each backward pass to its argument adds one to `costs.backward_passes`."""

    def __init__(self, denoiser: Denoiser, costs: Costs) -> None:
        super().__init__()
        self.denoiser, self.costs = denoiser, costs
        self.schedule = denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **conditions: object) -> Posterior:
        """The posterior of the wrapped denoiser at `x_t` (B, ...)."""
        if x_t.requires_grad:
            x_t.register_hook(self._count)
        return self.denoiser(x_t, t, **conditions)

    def _count(self, gradient: Tensor) -> None:
        self.costs.backward_passes += 1


class Reshaped(Denoiser):
    """A denoiser of points of one shape as a denoiser of points of another.

    azula's solvers take the last axis for the whole point, so that they are given flat points.

    Args:
        denoiser: the denoiser of points (B, *inner).
        inner: the shape of its points.
        outer: the shape of the points of this one, with as many numbers.
    """

    def __init__(self, denoiser: Denoiser, *, inner: tuple[int, ...], outer: tuple[int, ...]) -> None:
        super().__init__()
        self.denoiser, self.inner, self.outer = denoiser, inner, outer
        self.schedule = denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor, **conditions: object) -> DiracPosterior:
        """The posterior mean at `x_t` (B, *outer)."""
        mean = self.denoiser(x_t.reshape(-1, *self.inner), t, **conditions).mean
        return DiracPosterior(mean.reshape(-1, *self.outer))


class WeighedTDSSampler(TDSSampler):
    """azula's `TDSSampler`, which also reports the least effective sample size of its steps.

    Args:
        denoiser: the denoiser.
        log_twist: log p(y | x, ratio) (B,) of estimates (B, ...) at a noise-to-signal ratio.
        steps: number of steps.
        details: receives `effective_sample_size` (B,), a fraction of the number of particles.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        log_twist: Callable[[Tensor, Tensor], Tensor],
        *,
        steps: int,
        details: dict[str, Tensor],
    ) -> None:
        super().__init__(denoiser, self._weighed, steps=steps, silent=True)
        self._log_twist, self.details = log_twist, details
        self._log_weights: Tensor | float = 0.0

    def __call__(self, x: Tensor, **conditions: object) -> Tensor:
        """The particles (B, ...) from their first states.

        Raises:
            ValueError: a condition of the denoiser differs between the particles.
        """
        require_one_condition(conditions, OTHERWISE)
        self.details["effective_sample_size"] = torch.ones_like(x.flatten(1)[:, 0])
        moved: Tensor = super().__call__(x, **conditions)
        return moved

    def step(
        self, x_t: Tensor, t: Tensor, s: Tensor, carry: dict[str, Tensor], **conditions: object
    ) -> Tensor:
        """Resamples the particles `x_t` (B, ...) and moves them from time t to time s."""
        self._log_weights = carry.get("log_w", 0.0)
        x_s: Tensor = super().step(x_t, t, s, carry, **conditions)
        return x_s

    def _weighed(self, mean: Float[Tensor, "B *Z"], ratio: Tensor) -> Float[Tensor, " B"]:
        """The twist, with which the weights of a step are known."""
        found = self._log_twist(mean, ratio)
        effective = effective_sample_size((self._log_weights + found.detach())[None])
        least = self.details["effective_sample_size"]
        self.details["effective_sample_size"] = torch.minimum(least, effective)
        return found

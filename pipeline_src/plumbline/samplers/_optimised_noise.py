"""A deterministic sampler whose first noise is optimised until its samples meet a constraint."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers._denoising import DenoisingContext
from plumbline.samplers._lbfgs import minimised
from plumbline.samplers._stepped import SteppedSampler


class OptimisedNoise(Sampler):
    """Minimises the mean square of a constraint's residual over the first state of a sampler.

    Args:
        base: the sampler, which takes single steps.
        last: what the sampler's spec does with its last point, as `last(sampler, z, conditions)`.
        constraint: name of the constraint.
        iterations: largest number of L-BFGS steps.
        memory: number of past steps that they use.
        trials: largest number of step lengths in a step.
        context: the task, the space of the model, and the costs.
    """

    def __init__(
        self,
        base: Sampler,
        last: Callable[..., Tensor],
        *,
        constraint: str,
        iterations: int,
        memory: int,
        trials: int,
        context: DenoisingContext,
    ) -> None:
        super().__init__(start=base.start, stop=base.stop, steps=base.steps, silent=True)
        self.denoiser = base.denoiser
        self._base, self._last, self._context = base, last, context
        self._constraint = context.task.constraints[constraint]
        self._iterations, self._memory, self._trials = iterations, memory, trials

    @property
    def timesteps(self) -> Tensor:
        """The times of the base."""
        return self._base.timesteps

    @torch.no_grad()
    def __call__(self, x: Tensor, **conditions: object) -> Tensor:
        """The last point (B, ...) of the base, from the optimised first state.

        Args:
            x: the first state (B, ...) to start from.
            conditions: keyword arguments of the denoiser.
        """
        size = self._size(x)

        def loss(flat: Tensor) -> tuple[Tensor, Tensor]:
            costs = self._context.costs
            before = costs.network_evaluations
            with torch.enable_grad():
                noise = flat.detach().requires_grad_()
                sample = self._last(self, self._run((size * noise).view_as(x), conditions), conditions)
                residual = self._constraint.residual(self._context.decode(sample))
                losses = residual.flatten(1).square().mean(1)
                (gradients,) = torch.autograd.grad(losses.sum(), noise)
            costs.backward_passes += costs.network_evaluations - before
            return losses.detach(), gradients

        noise = minimised(
            loss,
            x.flatten(1) / size,
            iterations=self._iterations,
            memory=self._memory,
            trials=self._trials,
        )
        return self._run((size * noise).view_as(x), conditions)

    def _size(self, x: Tensor) -> Tensor:
        """The standard deviation of the first state, so that the optimised noise has unit variance."""
        alpha, sigma = self.denoiser.schedule(self.timesteps[0].to(x))
        return (alpha**2 + sigma**2).sqrt()

    def _run(self, x: Tensor, conditions: dict[str, object]) -> Tensor:
        """The last point of the base from the first state x (B, ...), differentiable."""
        if isinstance(self._base, SteppedSampler):
            self._base.begin(x)
        times = self.timesteps.to(x.device)
        for t, s in pairwise(times):
            x = self._base.step(x, t, s, **conditions)
        return x

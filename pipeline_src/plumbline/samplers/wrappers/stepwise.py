"""An azula sampler whose state is projected after every step."""

from __future__ import annotations

from typing import Any

from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers import Problem


class StepwiseProjection(Sampler):
    """Wraps a sampler: each new state moves to the nearest point, in the data's units, that is feasible.

    A state at time s is alpha_s x plus noise; x_s / alpha_s is what is held against the constraint, so
    that the level set does not shrink with the signal. One with more noise than `noise_below` is left alone.
    """

    def __init__(self, base: Sampler, constraint: str, problem: Problem, noise_below: float) -> None:
        super().__init__(base.start, base.stop, base.steps, base.silent, base.dtype, base.device)
        self.base = base
        self.denoiser = base.denoiser
        self.constraint = problem.constraints[constraint]
        self.problem = problem
        self.noise_below = noise_below

    def step(self, x_t: Tensor, t: Tensor, s: Tensor, **conditions: Any) -> Tensor:
        """The projected state at time s, of the shape of `x_t`."""
        alpha_s, sigma_s = self.denoiser.schedule(s)
        x_s = self.base.step(x_t, t, s, **conditions)
        if float(sigma_s / alpha_s) > self.noise_below:
            return x_s
        self.problem.costs.projection_solves += 1
        projected = self.constraint.project(self.problem.decode(x_s / alpha_s))
        return alpha_s * self.problem.space.encode(projected)

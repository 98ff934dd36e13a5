r"""Euclidean projection, of the finished samples or of every state on the way.

`final_projection` draws freely and moves each sample to the nearest feasible point: the baseline that a
sceptic asks for. `projected` is projected diffusion (Christopher, Baek, Fioretto, NeurIPS 2024): after
every step, the noisy state itself is projected.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from plumbline.samplers import ConstrainedSpec, Problem
from plumbline.spec import key

if TYPE_CHECKING:
    from azula.denoise import Denoiser
    from azula.sample import Sampler
    from torch import Tensor


class _Projecting(ConstrainedSpec):
    enforces: ClassVar[bool] = True

    def requires(self) -> tuple[str, ...]:
        return ("project",)

    def finish(self, x: Tensor, problem: Problem) -> Tensor:
        problem.costs.projection_solves += 1
        return problem.constraints[self.constraint].project(self.base.finish(x, problem))


class FinalProjectionSpec(_Projecting):
    """Free sampling by whatever sampler, then the nearest feasible point."""

    kind: Literal["final_projection"] = "final_projection"

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        return self.base.draw(model, problem)

    def needs(self) -> str:
        return self.base.needs()


class FinalCompletionSpec(FinalProjectionSpec):
    """Free sampling by whatever sampler; then the last coordinates that can be are solved for (Constrained Layer)."""

    kind: Literal["final_completion"] = "final_completion"  # type: ignore[assignment]

    def requires(self) -> tuple[str, ...]:
        return ("condition",)

    def finish(self, x: Tensor, problem: Problem) -> Tensor:
        problem.costs.projection_solves += 1
        return problem.constraints[self.constraint].complete(self.base.finish(x, problem))


class ProjectedSpec(_Projecting):
    """Projected diffusion: the state is projected after every step."""

    kind: Literal["projected"] = "projected"
    noise_below: float | None = key("standard deviations of the model's space", gt=0, default=None)
    """Noise above which states are left alone, as where the nearest feasible point takes long to find; null for none."""

    def build(self, denoiser: Denoiser, problem: Problem) -> Sampler:
        from plumbline.samplers.wrappers.stepwise import StepwiseProjection

        base = self.denoising_base().build(denoiser, problem)
        limit = math.inf if self.noise_below is None else self.noise_below
        return StepwiseProjection(base, self.constraint, problem, limit)

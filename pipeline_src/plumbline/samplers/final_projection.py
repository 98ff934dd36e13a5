"""Free sampling, and the nearest feasible point of each finished sample: the baseline that a sceptic asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from plumbline.samplers import ConstrainedSpec, Costs, Samples, SamplingTask

if TYPE_CHECKING:
    from torch import Tensor


class FinalProjectionSpec(ConstrainedSpec):
    """Free sampling by whatever sampler, then the nearest feasible point."""

    kind: Literal["final_projection"] = "final_projection"
    enforces: ClassVar[bool] = True
    within_denoising: ClassVar[bool] = False

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        return self.base.draw(model, task)

    def finish(self, x: Tensor, task: SamplingTask, costs: Costs) -> Tensor:
        costs.projection_solves += 1
        return task.projectable(self.constraint).project(self.base.finish(x, task, costs))

    def requires(self) -> tuple[str, ...]:
        return ("project",)

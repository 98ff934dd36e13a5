"""Free sampling, and the last coordinates of each finished sample solved for, as by a Constrained Layer (DC3, Donti et al., ICLR 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from plumbline.samplers import ConstrainedSpec, Costs, Samples, SamplingTask

if TYPE_CHECKING:
    from torch import Tensor


class FinalCompletionSpec(ConstrainedSpec):
    """Free sampling by whatever sampler; then the last coordinates that can be are solved for (Constrained Layer)."""

    kind: Literal["final_completion"] = "final_completion"
    enforces: ClassVar[bool] = True
    within_denoising: ClassVar[bool] = False

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        return self.base.draw(model, task)

    def finish(self, x: Tensor, task: SamplingTask, costs: Costs) -> Tensor:
        costs.projection_solves += 1
        return task.linear(self.constraint).complete(self.base.finish(x, task, costs))

    def requires(self) -> tuple[str, ...]:
        return ("condition",)

"""Free sampling, and the last coordinates of each finished sample solved for, as by a Constrained Layer (DC3, Donti et al., ICLR 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from plumbline.samplers import EnforcingSpec, Samples, SamplingTask

if TYPE_CHECKING:
    from torch import Tensor


class FinalCompletionSpec(EnforcingSpec):
    """Free sampling by whatever sampler; then the last coordinates that can be are solved for (Constrained Layer)."""

    kind: Literal["final_completion"] = "final_completion"
    within_denoising: ClassVar[bool] = False

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        return self.base.draw(model, task)

    def moved(self, x: Tensor, task: SamplingTask) -> Tensor:
        """The samples (B, ...) with their last coordinates solved for."""
        return task.linear(self.constraint).complete(x)

    def requires(self) -> tuple[str, ...]:
        return ("condition",)

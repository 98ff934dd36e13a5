"""Free sampling, and the nearest feasible point of each finished sample: the baseline that a sceptic asks for."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from plumbline.samplers import EnforcingSpec, Samples, SamplingTask


class FinalProjectionSpec(EnforcingSpec):
    """Free sampling by whatever sampler, then the nearest feasible point."""

    kind: Literal["final_projection"] = "final_projection"
    within_denoising: ClassVar[bool] = False

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        return self.base.draw(model, task)

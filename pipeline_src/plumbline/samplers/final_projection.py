"""Sampling without the constraint, after which each sample is projected: the simplest baseline."""

from __future__ import annotations

from typing import ClassVar, Literal

from plumbline.samplers import DenoisingWrapperSpec, EnforcingSpec, Samples, SamplingTask


class FinalProjectionSpec(EnforcingSpec, DenoisingWrapperSpec):
    """Draws samples with any sampler, then projects each one onto the constraint."""

    kind: Literal["final_projection"] = "final_projection"
    within_denoising: ClassVar[bool] = False

    def draw(self, model: object, task: SamplingTask) -> Samples:
        return self.base.draw(model, task)

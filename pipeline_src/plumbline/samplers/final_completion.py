"""Sampling without the constraint, after which an equality is solved for the last coordinates of each sample.

Sources: completion in DC3, Donti, Rolnick, Kolter (ICLR 2021), https://arxiv.org/abs/2104.12225; the
Constrained Layer, Stoian et al. (ICLR 2024), https://arxiv.org/abs/2402.04823.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import LinearEqualityConstraint
from plumbline.samplers import DenoisingWrapperSpec, EnforcingSpec, Samples, SamplingTask

if TYPE_CHECKING:
    from torch import Tensor


class FinalCompletionSpec(EnforcingSpec, DenoisingWrapperSpec):
    """Draws samples with any sampler, then solves the equality for the last coordinates that determine it.

    This is the completion of DC3 (Donti et al. 2021, https://arxiv.org/abs/2104.12225) applied to samples.
    """

    kind: Literal["final_completion"] = "final_completion"
    within_denoising: ClassVar[bool] = False

    def draw(self, model: object, task: SamplingTask) -> Samples:
        return self.base.draw(model, task)

    def moved(self, x: Tensor, task: SamplingTask) -> tuple[Tensor, dict[str, Tensor]]:
        """The samples (B, ...), completed: the last coordinates solved for, the others unchanged."""
        return task.linear(self.constraint).complete(x), {}

    def requires(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

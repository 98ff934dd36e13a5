r"""Sampling without the constraint, after which each sample is projected: the simplest baseline.

With `metric: data`, the projection minimises the distance in the metric C^{-1} of the covariance C of the
training data instead of the Euclidean one (`plumbline.constraints._metric_projection`). For Gaussian data and
a linear equality, such samples follow the exact distribution given the equality: the projection of x is
x + C A^T (A C A^T)^{-1} (k - A x), which is Matheron's rule.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from plumbline.constraints import GaussianConditioning, ProjectableConstraint
from plumbline.samplers import Denoising, DenoisingWrapperSpec, EnforcingSpec, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import Tensor


class FinalProjectionSpec(EnforcingSpec, DenoisingWrapperSpec):
    """Draws samples with any sampler, then projects each one onto the constraint."""

    kind: Literal["final_projection"] = "final_projection"
    within_denoising: ClassVar[bool] = False
    metric: Literal["euclidean", "data"] = key(default="euclidean")
    """The distance that the projection minimises: Euclidean, or in the metric of the covariance of the
    training data, which the model must have."""

    def requires(self) -> tuple[type, ...]:
        if self.metric == "euclidean":
            return (ProjectableConstraint,)
        return (ProjectableConstraint, GaussianConditioning)

    def draw(self, model: object, task: SamplingTask) -> Samples:
        drawn = self.base.draw(model, task)
        if self.metric == "euclidean":
            return drawn
        return replace(drawn, state=self._nearest(cast("Denoising", model), drawn, task))

    def _nearest(self, model: Denoising, drawn: Samples, task: SamplingTask) -> Tensor:
        """The samples (B, ...), projected in the metric of the data; `finish` removes rounding errors."""
        from plumbline.constraints._metric_projection import project_in_metric
        from plumbline.samplers._denoising import DenoisingContext

        context = DenoisingContext(task, model.space_of(task.batch), drawn.costs)
        drawn.costs.projection_solves += 1
        z = context.space.encode(drawn.state.double())
        found = project_in_metric(
            task.constraints[self.constraint],
            z.flatten(1),
            context.covariance,
            shift=context.shift,
            scale=context.scale.double().expand(context.shift.shape),
        )
        return context.space.decode(found.view_as(z))

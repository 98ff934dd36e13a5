"""Diffusion in the null space of a linear equality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import LinearEqualityConstraint
from plumbline.models import BuildContext, ModelSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.constrained._null_space_diffusion import NullSpaceDiffusion


class NullSpaceDiffusionSpec(ModelSpec):
    """A diffusion model of the n - r null-space coordinates; decoding adds what the equality fixes."""

    kind: Literal["null_space_diffusion"] = "null_space_diffusion"
    constraint: str
    """Name of the equality, one of the study's `constraints`."""
    network: AnyNetwork
    """Backbone network, for vectors."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, with the distribution of noise levels in training."""
    scaling: Literal["per_feature", "global"] = key(default="global")
    """Scaling before the null space is computed: a mean and a scale per coordinate, or one of each."""

    def build(self, on: BuildContext) -> NullSpaceDiffusion:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.constrained._null_space_diffusion import NullSpaceDiffusion

        return NullSpaceDiffusion(
            sample_shape(on.example),
            network=self.network.build,
            schedule=self.schedule.build(),
            scaling=self.scaling,
            constraint=on.linear(self.constraint),
        )

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def requires(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

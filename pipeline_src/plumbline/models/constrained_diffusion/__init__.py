"""Diffusion models that know a linear equality: conditioned denoisers, and diffusion in the null space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.objectives import AnyObjective
from plumbline.models import Foundation, ModelSpec
from plumbline.models.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.models.outputs import LawModelSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.constrained_diffusion.conditioned import ConstrainedDiffusion
    from plumbline.models.constrained_diffusion.null_space import NullSpaceDiffusion


class ConstrainedDiffusionSpec(LawModelSpec):
    """A denoiser whose Gaussian of the clean sample is put on the feasible set by a law, in training and sampling."""

    kind: Literal["constrained_diffusion"] = "constrained_diffusion"
    network: AnyNetwork
    """The backbone; it gives a mean and a variance a coordinate."""
    objective: AnyObjective
    """What the law is trained by."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, and the noise levels seen in training."""
    scaling: Literal["coordinate", "global", "largest"] = key(default="global")
    """Standardisation: a mean and a scale a coordinate, or one of each."""
    initial_deviation: float = key("posterior deviations of a standard normal", gt=0, default=1.0)
    """Standard deviation that the law starts with: at one, that of a coordinate independent of all others."""

    def build(self, on: Foundation) -> ConstrainedDiffusion:
        from plumbline.models.constrained_diffusion.conditioned import ConstrainedDiffusion
        from plumbline.models.spaces.example import sample_shape

        return ConstrainedDiffusion(self, sample_shape(on.example), on.constraint(self.constraint))

    def offers(self) -> tuple[str, ...]:
        return ("denoiser",)


class NullSpaceDiffusionSpec(ModelSpec):
    """A diffusion model of the n - r free coordinates: what the equality fixes is put back at the end."""

    kind: Literal["null_space_diffusion"] = "null_space_diffusion"
    constraint: str
    """Name of the equality, one of the study's `constraints`."""
    network: AnyNetwork
    """The backbone, for a vector."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, and the noise levels seen in training."""
    scaling: Literal["coordinate", "global"] = key(default="global")
    """Scaling of the coordinates before the null space is taken: a mean and a scale each, or one of each."""

    def build(self, on: Foundation) -> NullSpaceDiffusion:
        from plumbline.models.constrained_diffusion.null_space import NullSpaceDiffusion
        from plumbline.models.spaces.example import sample_shape

        return NullSpaceDiffusion(self, sample_shape(on.example), on.constraint(self.constraint))

    def constraint_names(self) -> list[str]:
        return [self.constraint]

    def requires(self) -> tuple[str, ...]:
        return ("condition",)

"""Diffusion models that know a linear equality: conditioned denoisers, and diffusion in the null space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.objectives import AnyObjective
from plumbline.models import BuildContext
from plumbline.models._output_specs import LawModelSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.constrained._constrained_diffusion import ConstrainedDiffusion


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

    def build(self, on: BuildContext) -> ConstrainedDiffusion:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.constrained._constrained_diffusion import ConstrainedDiffusion

        return ConstrainedDiffusion(
            sample_shape(on.example),
            network=self.network.build,
            law=self.law,
            objective=self.objective,
            schedule=self.schedule.build(),
            scaling=self.scaling,
            constraint=on.constraint(self.constraint),
            initial_deviation=self.initial_deviation,
            smallest_deviation=self.smallest_deviation,
        )

    def provides(self) -> tuple[str, ...]:
        return ("denoiser",)

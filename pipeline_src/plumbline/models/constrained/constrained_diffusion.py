"""Diffusion models that know a linear equality: conditioned denoisers, and diffusion in the null space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.objectives import AnyObjective
from plumbline.models import BuildContext
from plumbline.models._output_specs import ConstrainedOutputSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.constrained._constrained_diffusion import ConstrainedDiffusion


class ConstrainedDiffusionSpec(ConstrainedOutputSpec):
    """A denoiser whose Gaussian of the clean sample is put on the feasible set by a law, in training and sampling."""

    kind: Literal["constrained_diffusion"] = "constrained_diffusion"
    network: AnyNetwork
    """The backbone; it gives a mean and a variance a coordinate."""
    objective: AnyObjective
    """What the law is trained by."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, and the noise levels seen in training."""
    scaling: Literal["per_feature", "global", "max_abs"] = key(default="global")
    """Standardisation: a mean and a scale a coordinate, or one of each."""
    initial_std: float = key("posterior deviations of a standard normal", gt=0, default=1.0)
    """Standard deviation that the law starts with: at one, that of a coordinate independent of all others."""

    def build(self, on: BuildContext) -> ConstrainedDiffusion:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.constrained._constrained_diffusion import ConstrainedDiffusion

        return ConstrainedDiffusion(
            sample_shape(on.example),
            network=self.network.build,
            likelihood=self.likelihood,
            objective=self.objective,
            schedule=self.schedule.build(),
            scaling=self.scaling,
            constraint=on.constraint(self.constraint),
            initial_std=self.initial_std,
            min_std=self.min_std,
        )

    def provides(self) -> tuple[str, ...]:
        return ("denoiser",)

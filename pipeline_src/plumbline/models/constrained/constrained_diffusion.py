"""Diffusion models whose denoiser obeys a linear equality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.distributions.objectives import AnyObjective
from plumbline.models import BuildContext, Denoising
from plumbline.models._output_specs import ConstrainedOutputSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.networks import AnyNetwork
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.constrained._constrained_diffusion import ConstrainedDiffusion


class ConstrainedDiffusionSpec(ConstrainedOutputSpec):
    """A diffusion model whose Gaussian of the clean sample is restricted to the feasible set.

    This holds in training and in sampling (Li et al. 2025, https://arxiv.org/abs/2502.05416).
    """

    kind: Literal["constrained_diffusion"] = "constrained_diffusion"
    network: AnyNetwork
    """Backbone network, which gives a mean and a variance per coordinate."""
    objective: AnyObjective
    """The objective that the distribution is trained with."""
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, with the distribution of noise levels in training."""
    scaling: Literal["per_feature", "global", "max_abs"] = key(default="global")
    """Scaling: mean and scale per coordinate, one of each, or maximum absolute value per coordinate."""
    initial_std: float = key("posterior standard deviations of a standard normal", gt=0, default=1.0)
    """Standard deviation at the start of training; one is that of a coordinate independent of all others."""

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
            constraint=on.linear(self.constraint),
            initial_std=self.initial_std,
            min_std=self.min_std,
        )

    def provides(self) -> tuple[type, ...]:
        return (Denoising,)

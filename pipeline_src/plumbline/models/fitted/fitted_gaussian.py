"""A Gaussian fitted to the data: the trivial baseline, and an exact denoiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.fitted._fitted_gaussian import FittedGaussian


class FittedGaussianSpec(FittedModelSpec):
    """Mean and covariance of the training data, and their linear dependence on the condition.

    Its denoiser is exact, so every sampler can draw from it without training.
    """

    kind: Literal["fitted_gaussian"] = "fitted_gaussian"
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, which samplers follow."""
    scaling: Literal["per_feature", "global"] = key(default="global")
    """Standardisation: a mean and a scale per coordinate, or one of each."""

    def build(self, on: BuildContext) -> FittedGaussian:
        from plumbline.models._spaces import sample_shape
        from plumbline.models.fitted._fitted_gaussian import FittedGaussian

        return FittedGaussian(sample_shape(on.example), schedule=self.schedule.build(), scaling=self.scaling)

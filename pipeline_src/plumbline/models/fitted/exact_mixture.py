"""The mixture of Gaussians that the dataset stores, with its exact denoiser: no training, no error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.models import BuildContext, FittedModelSpec
from plumbline.models.diffusion.diffusion import AnySchedule, EDMScheduleSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from plumbline.models.fitted._exact_mixture import ExactMixture


class ExactMixtureSpec(FittedModelSpec):
    """The unconstrained distribution of a dataset that stores it as a mixture of Gaussians.

    All error of its samples is that of the sampler. Beside a learned denoiser, it separates the two. The
    covariance that samplers use is that of the mixture, too, and is not estimated.
    """

    kind: Literal["exact_mixture"] = "exact_mixture"
    schedule: AnySchedule = EDMScheduleSpec()
    """Noise schedule, which samplers follow."""
    scaling: Literal["global", "none"] = key(default="global")
    """Standardisation: one mean and one scale of the training data, or none."""

    def build(self, on: BuildContext) -> ExactMixture:
        """The mixture of the dataset.

        Raises:
            ValueError: the dataset stores no mixture, or one that does not fit its samples.
        """
        from plumbline.models.fitted._exact_mixture import ExactMixture, stored_mixture

        return ExactMixture(
            on.example["state"].shape[1:],
            **stored_mixture(on.example),
            schedule=self.schedule.build(),
            scaling=self.scaling,
        )

r"""A diffusion model: standardised data, Karras preconditioning, the weighted denoising loss.

With x_t = alpha_t x + sigma_t e, the network learns m(x_t) = E[x | x_t] by

    E_{x, t, e} [ (alpha_t^2 + sigma_t^2) / sigma_t^2 |m(x_t) - x|^2 ]

(azula's `KarrasDenoiser`; Karras et al. 2022, table 1 with unit data). The times of a batch are stratified:
one in each of B equal shares of their law, which takes the variance of the level out of the gradient.
"""

from __future__ import annotations

from azula.denoise import KarrasDenoiser
from torch import Tensor, nn

from plumbline.models._spaces import MirrorSpace, Standardisation, StandardisedCondition
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times
from plumbline.networks import SampleShape


class Diffusion(nn.Module):
    """A denoiser of standardised samples (B, ...), conditioned where the dataset has a condition.

    Args:
        sample: the shape of samples.
        backbone: the network, for such samples.
        schedule: the noise schedule, which says what is trained at.
        space: the space that the denoiser works in, not fitted.
    """

    def __init__(
        self,
        sample: SampleShape,
        *,
        backbone: nn.Module,
        schedule: TrainedSchedule,
        space: Standardisation | MirrorSpace,
    ) -> None:
        super().__init__()
        self.space = space
        self.condition = StandardisedCondition(sample.condition)
        self.schedule = schedule
        self.denoiser = KarrasDenoiser(backbone, schedule)

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits the space and the standardisation of conditions."""
        self.space.fit(data["state"])
        self.condition.fit(data)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation | MirrorSpace:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch: the standardised condition, if there is one."""
        return self.condition.arguments(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising loss of a batch, and its terms for the log."""
        z = self.space.encode(batch["state"])
        times = stratified_times(self.schedule, len(z), z)
        loss = self.denoiser.loss(z, times, **self.conditions(batch))
        return loss, {"denoising": loss.detach()}

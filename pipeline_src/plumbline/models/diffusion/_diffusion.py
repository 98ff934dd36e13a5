r"""A diffusion model: standardised data, Karras preconditioning, the weighted denoising loss.

With x_t = alpha_t x + sigma_t e, the network learns m(x_t) = E[x | x_t] by

    E_{x, t, e} [ (alpha_t^2 + sigma_t^2) / sigma_t^2 |m(x_t) - x|^2 ]

(azula's `KarrasDenoiser`; Karras et al. 2022, table 1 with unit data, https://arxiv.org/abs/2206.00364). The
times of a batch are stratified: one from each of B equally likely intervals, which reduces the variance of
the gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

from azula.denoise import KarrasDenoiser
from torch import Tensor, nn

from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import MirrorSpace, Standardisation, StandardisedCondition
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times


class Diffusion(PreparedInBlocks, nn.Module):
    """A denoiser of standardised samples (B, ...) with the preconditioning of Karras et al. (2022).

    Source: https://arxiv.org/abs/2206.00364. With a `condition_dropout`, it also learns the denoiser without
    its condition (Ho and Salimans 2022, https://arxiv.org/abs/2207.12598).

    Args:
        backbone: the network, for samples with this condition.
        schedule: the noise schedule, with the distribution of times in training.
        space: the space that the denoiser works in, before it is fitted.
        condition: the condition of the denoiser, before it is fitted; None for no condition.
        condition_dropout: probability that the condition of a sample is dropped in training.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        schedule: TrainedSchedule,
        space: Standardisation | MirrorSpace,
        condition: StandardisedCondition | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.space = space
        self.condition = StandardisedCondition() if condition is None else condition
        self.condition_dropout = condition_dropout
        self.schedule = schedule
        self.denoiser = KarrasDenoiser(backbone, schedule)

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the space and the standardisation of conditions."""
        self.space.fit_blocks(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)

    def space_of(self, batch: dict[str, Tensor]) -> Standardisation | MirrorSpace:
        """The space that the denoiser works in."""
        return self.space

    def conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for a batch: the standardised condition, if there is one."""
        return self.condition.arguments(batch)

    def null_conditions(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The denoiser's keyword arguments for samples of a batch whose condition is not given.

        Raises:
            ValueError: the model was trained with its condition only.
        """
        return self.condition.null(batch)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The denoising loss of a batch, and its terms for the log."""
        z = self.space.encode(batch["state"])
        times = stratified_times(self.schedule, len(z), z)
        conditions = self.conditions(batch)
        if self.condition_dropout and self.training:
            conditions = self.condition.dropped(conditions, self.condition_dropout)
        loss = self.denoiser.loss(z, times, **conditions)
        return loss, {"denoising": loss.detach()}

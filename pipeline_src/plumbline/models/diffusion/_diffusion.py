r"""Diffusion and flow-matching models: standardised data, a weighted denoising loss.

With x_t = alpha_t x + sigma_t e, the network learns m(x_t) = E[x | x_t]. With Karras' preconditioning its
loss is

    E_{x, t, e} [ (alpha_t^2 + sigma_t^2) / sigma_t^2 |m(x_t) - x|^2 ]

(azula's `KarrasDenoiser`; Karras et al. 2022, table 1 with unit data, https://arxiv.org/abs/2206.00364); for
the velocity see `_parametrisations`. The times of a batch are stratified: one from each of B equally likely
intervals, which reduces the variance of the gradient. Noise with a covariance is the subject of `_noise`,
noise that is paired with samples that of `_couplings`, and losses with the residual of a constraint those of
`_virtual_observations` and `_conflict_free`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from azula.denoise import Denoiser
from torch import Tensor, nn

from plumbline.constraints import Constraint
from plumbline.models._on_device import WithConstraints
from plumbline.models._preparing import PreparedInBlocks, SampleBlock
from plumbline.models._spaces import MirrorSpace, Standardisation, StandardisedCondition
from plumbline.models.diffusion._couplings import Coupling, paired_by_transport
from plumbline.models.diffusion._estimates import NoisyBatch, ResidualLoss, residual_in
from plumbline.models.diffusion._noise import GaussianField, WhitenedDenoiser, WhitenedSpace
from plumbline.models.diffusion._parametrisations import (
    PARAMETRISATIONS,
    Parametrisation,
    TrainableDenoiser,
)
from plumbline.models.diffusion._schedules import TrainedSchedule, stratified_times
from plumbline.samplers._models import Space


class Diffusion(PreparedInBlocks, WithConstraints):
    """A denoiser of standardised samples (B, ...).

    With a `condition_dropout`, it also learns the denoiser without its condition (Ho and Salimans 2022,
    https://arxiv.org/abs/2207.12598).

    Args:
        backbone: the network, for samples with this condition.
        schedule: the noise schedule, with the distribution of times in training.
        space: the space that the denoiser works in, before it is fitted.
        condition: the condition of the denoiser, before it is fitted; None for no condition.
        condition_dropout: probability that the condition of a sample is dropped in training.
        parametrisation: what the network predicts.
        coupling: how samples and noise are paired in training.
        noise: the noise, in the space; None for white noise.
        constraint: the constraint whose residual the model is trained with; None for none.
        residual_loss: the loss with this residual, if there is a constraint.

    Raises:
        ValueError: noise is paired with samples of a conditioned model. It would then depend on the condition
            in training, and not in sampling.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        schedule: TrainedSchedule,
        space: Standardisation | MirrorSpace,
        condition: StandardisedCondition | None = None,
        condition_dropout: float = 0.0,
        parametrisation: Parametrisation = "karras",
        coupling: Coupling = "independent",
        noise: GaussianField | None = None,
        constraint: Constraint | None = None,
        residual_loss: ResidualLoss | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.condition = StandardisedCondition() if condition is None else condition
        self.condition_dropout = condition_dropout
        self.schedule = schedule
        self.coupling = coupling
        self.constraint, self.residual_loss = constraint, residual_loss
        if coupling != "independent" and (self.condition.dim or self.condition.field):
            raise ValueError(
                f"`coupling: {coupling}` pairs noise with samples whatever their condition, and this model "
                "has one: set `coupling: independent`, or `condition_on: []`."
            )
        learned = PARAMETRISATIONS[parametrisation](backbone, schedule)
        self.denoiser: Denoiser = learned if noise is None else WhitenedDenoiser(learned, noise)

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Fits the space and the standardisation of conditions."""
        self.space.fit_blocks(block["state"] for block in blocks)
        self.space.fit_covariance(block["state"] for block in blocks)
        self.condition.fit_blocks(blocks)

    def space_of(self, batch: dict[str, Tensor]) -> Space:
        """The space that the denoiser works in: that of whitened samples, if the noise has a covariance."""
        if isinstance(self.denoiser, WhitenedDenoiser):
            return WhitenedSpace(self.space, self.denoiser.field)
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
        noise, learned = torch.randn_like(z), self.denoiser
        if isinstance(learned, WhitenedDenoiser):
            noise, learned = learned.field.coloured(noise), learned.denoiser
        if self.coupling == "optimal_transport":
            noise = paired_by_transport(z, noise)
        trainable = cast("TrainableDenoiser", learned)
        if self.constraint is None or self.residual_loss is None:
            loss, _ = trainable.loss_and_mean(z, noise, times, **conditions)
            return loss, {"denoising": loss.detach()}
        residual = residual_in(self.space, self.constraint.bind(batch))
        return self.residual_loss.loss(NoisyBatch(trainable, z, noise, times, conditions, residual))

    def after_step(self, terms: dict[str, Tensor]) -> None:
        """Tells a loss with a residual that the optimiser has taken a step."""
        if self.residual_loss is not None:
            self.residual_loss.after_step()

    def go_to(self, step: int) -> None:
        """Moves a loss with a residual to a step of the training."""
        if self.residual_loss is not None:
            self.residual_loss.go_to(step)

"""Drawing by denoising: an azula sampler from its first noise to samples in the data's units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from azula.denoise import Denoiser, DiracPosterior, Posterior
from torch import Tensor

from plumbline.samplers._task import Costs, SamplingTask

if TYPE_CHECKING:
    from plumbline.samplers import DenoisingSpec


@dataclass(frozen=True)
class DenoisingContext:
    """What a sampler is built with beside a denoiser.

    Attributes:
        task: what is asked for.
        space: maps the model's space to the data's units: `encode(x)`, `decode(z)`, `scale`.
        costs: counted along the way.
    """

    task: SamplingTask
    space: Any
    costs: Costs

    def decode(self, z: Tensor) -> Tensor:
        """From the model's space to the data's units, at its cost: a mirror map evaluates a network."""
        self.costs.network_evaluations += int(getattr(self.space, "decoding_evaluations", 0))
        return self.space.decode(z)


def denoise(model: Any, spec: DenoisingSpec, task: SamplingTask, costs: Costs) -> Tensor:
    """As many samples as the batch has conditions, in the data's units and double precision.

    Args:
        model: a model with a denoiser.
        spec: the sampler.
        task: what is asked for.
        costs: counted along the way.
    """
    batch = task.batch_on_device()
    context = DenoisingContext(task, model.space_of(batch), costs)
    conditions = model.conditions(batch)
    # Only the shape of the states is used.
    shape = tuple(context.space.encode(batch["state"]).shape)
    denoiser = CountingDenoiser(model.denoiser, costs, task.progress)
    sampler = spec.build(denoiser, context)
    z = sampler(sampler.init(shape, device=task.device), **conditions)
    with torch.no_grad():
        return context.decode(spec.last(sampler, z, conditions).double())


class CountingDenoiser(Denoiser):
    """Wraps a denoiser: adds one to `costs.network_evaluations`, then calls `progress`, for each evaluation."""

    def __init__(self, denoiser: Denoiser, costs: Costs, progress: Callable[[Costs], None]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.costs, self.progress = costs, progress

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Any) -> Posterior:
        """The posterior of the wrapped denoiser, of the shape of `x_t` (B, ...)."""
        self.costs.network_evaluations += 1
        self.progress(self.costs)
        return self.denoiser(x_t, t, **conditions)


class CorrectedDenoiser(Denoiser):
    """Wraps a denoiser: its mean becomes `correction(denoiser, x_t, t, **conditions)`."""

    def __init__(self, denoiser: Denoiser, correction: Callable[..., Tensor]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.correction = correction

    def forward(self, x_t: Tensor, t: Tensor, **conditions: Any) -> DiracPosterior:
        """The posterior with the corrected mean, of the shape of `x_t` (B, ...)."""
        return DiracPosterior(self.correction(self.denoiser, x_t, t, **conditions))

"""Drawing by denoising: runs an azula sampler from pure noise to samples in the data's units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from azula.denoise import Denoiser, DiracPosterior, Posterior
from torch import Tensor

from plumbline.linalg.spectral import SpectralCovariance
from plumbline.samplers._models import Space, Transporting
from plumbline.samplers._task import Costs, SamplingTask

if TYPE_CHECKING:
    from plumbline.constraints._conditioner import Conditioner
    from plumbline.samplers import DenoisingSpec


@dataclass(frozen=True)
class DenoisingContext:
    """What a sampler may use besides the denoiser.

    Attributes:
        task: the sampling task.
        space: the space that the denoiser works in.
        costs: the costs so far; updated in place.
        without_condition: returns the keyword arguments of the denoiser without the condition; None for a
            model that cannot do without.
        details: tensors (B, ...) about each sample, by name, that the sampler may add to.
    """

    task: SamplingTask
    space: Space
    costs: Costs
    without_condition: Callable[[], Mapping[str, object]] | None = None
    details: dict[str, Tensor] = field(default_factory=dict)

    def decode(self, z: Tensor) -> Tensor:
        """Maps points (B, *Z) of the model's space to samples (B, *S) in the data's units.

        It counts the network evaluations of this step, since the inverse of a mirror map is a network.
        """
        self.costs.network_evaluations += int(getattr(self.space, "decoding_evaluations", 0))
        return self.space.decode(z)

    def null_conditions(self) -> Mapping[str, object]:
        """The keyword arguments of the denoiser for samples whose condition is not given.

        Raises:
            ValueError: the model has no denoiser without its condition.
        """
        if self.without_condition is None:
            raise ValueError(
                "this sampler requires a model that has a denoiser with and without its condition: train one "
                "with `condition_dropout`."
            )
        return self.without_condition()

    @property
    def covariance(self) -> SpectralCovariance:
        """The covariance of the training data in the model's space, flattened, in double precision.

        Raises:
            ValueError: the model does not have it, or its space has other coordinates than the data.
        """
        scale = self.scale.double()
        found = getattr(self.space, "covariance", None)
        if not isinstance(found, SpectralCovariance):
            raise ValueError(
                f"this sampler requires the covariance of the training data, which the {self.space_name} of "
                "the model lacks: set `covariance_rank` above 0 in the model, or `covariance: isotropic` in "
                "the sampler. An azula denoiser takes it as the argument `covariance` of `draw`."
            )
        return found.to(scale)

    def conditioner(self, name: str, which: Tensor | None = None) -> Conditioner:
        """Conditions Gaussians in the model's space on the constraint of this name.

        Args:
            name: name of the constraint.
            which: indices (N,) of the samples of the batch whose constraints are meant; None for all.
        """
        shift = self.shift
        scale = self.scale.double().expand(shift.shape)
        return self.task.gaussian_conditioning(name, which).conditioner(shift, scale)

    @property
    def shift(self) -> Tensor:
        """The sample (*S) at the origin of the model's space, in the data's unit and double precision."""
        shape = self.task.batch["state"].shape[1:]
        return self.space.decode(torch.zeros(1, *shape).to(self.scale.double()))[0]

    def projected(self, name: str, z: Tensor, which: Tensor | None = None) -> Tensor:
        """The nearest feasible points, in the data's units, of points z (N, *Z) of the model's space."""
        self.costs.projection_solves += 1
        return self.space.encode(self.task.projectable(name, which).project(self.decode(z)))

    @property
    def space_name(self) -> str:
        """The class of the space, for messages."""
        return type(self.space).__name__

    @property
    def scale(self) -> Tensor:
        """The size of one unit of each coordinate of the model's space, in the data's unit.

        Raises:
            ValueError: the space is not a shifted and scaled data space, such as the space of a mirror map.
        """
        scale = getattr(self.space, "scale", None)
        if not isinstance(scale, Tensor):
            raise ValueError(
                f"this sampler requires a space with the coordinates of the data, found a "
                f"{self.space_name}: draw from a model of standardised data."
            )
        return scale


def denoise(
    model: Transporting,
    spec: DenoisingSpec,
    task: SamplingTask,
    costs: Costs,
    details: dict[str, Tensor] | None = None,
) -> Tensor:
    """Draws one sample per entry of the task's batch, in the data's units and double precision.

    Args:
        model: a model with a denoiser.
        spec: the sampler.
        task: the sampling task.
        costs: the costs so far; updated in place.
        details: receives what the sampler says about each sample, by name.

    Returns:
        The samples (B, *S) on the task's device.
    """
    batch = task.batch
    without = partial(model.null_conditions, batch) if hasattr(model, "null_conditions") else None
    context = DenoisingContext(
        task, model.space_of(batch), costs, without, {} if details is None else details
    )
    conditions = model.conditions(batch)
    # Only the shape of the states is used.
    shape = tuple(context.space.encode(batch["state"]).shape)
    denoiser = CountingDenoiser(model.denoiser, costs, task.progress)
    sampler = spec.build(denoiser, context)
    with torch.no_grad():
        start = spec.first(sampler, sampler.init(shape, device=task.device), conditions)
    z = sampler(start, **conditions)
    with torch.no_grad():
        return context.decode(spec.last(sampler, z, conditions).double())


class CountingDenoiser(Denoiser):
    """Wraps a denoiser. Each evaluation adds one to `costs.network_evaluations`, then calls `progress`."""

    def __init__(self, denoiser: Denoiser, costs: Costs, progress: Callable[[Costs], None]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.costs, self.progress = costs, progress

    def forward(self, x_t: Tensor, t: Tensor, **conditions: object) -> Posterior:
        """The posterior of the wrapped denoiser at `x_t` (B, ...)."""
        self.costs.network_evaluations += 1
        self.progress(self.costs)
        return self.denoiser(x_t, t, **conditions)


class CorrectedDenoiser(Denoiser):
    """Wraps a denoiser and replaces its mean by `correction(denoiser, x_t, t, **conditions)`."""

    def __init__(self, denoiser: Denoiser, correction: Callable[..., Tensor]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.correction = correction

    def forward(self, x_t: Tensor, t: Tensor, **conditions: object) -> DiracPosterior:
        """The posterior with the corrected mean, which has the shape of `x_t` (B, ...)."""
        return DiracPosterior(self.correction(self.denoiser, x_t, t, **conditions))

"""The input of a sampler (`SamplingTask`), its output (`Samples`), and its cost (`Costs`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from plumbline.constraints import (
        Constraint,
        GaussianConditioning,
        LinearEqualityConstraint,
        ProjectableConstraint,
    )
    from plumbline.observations._observation import Observation


@dataclass
class Costs:
    """The cost of drawing a batch, in operations on the whole batch. Unknown counts are NaN.

    Attributes:
        network_evaluations: number of forward passes of the network.
        backward_passes: number of backward passes through the network.
        projection_solves: number of projections, or of solves or corrections with the constraint.
    """

    network_evaluations: float = 0
    backward_passes: float = 0
    projection_solves: float = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(
            self.network_evaluations + other.network_evaluations,
            self.backward_passes + other.backward_passes,
            self.projection_solves + other.projection_solves,
        )


def _no_progress(costs: Costs) -> None:
    """Reports nothing."""


@dataclass(frozen=True)
class SamplingTask:
    """The input of a sampler.

    Everything in it is on `device`: what is given on another device is moved there. A sampler draws on this
    device, and its `Samples` are there.

    Attributes:
        batch: the variables (B, ...) of the test samples to draw for, by name. The result must not depend on
            `state`, except through its shape.
        constraints: constraints by name, bound to this batch.
        observation: the measurements of the true states, if the study has an observation.
        device: the device to draw on.
        seed: seed of the method.
        first: index of the first of these samples among all samples of the method and seed.
        progress: called with the costs so far after each network evaluation.
    """

    batch: dict[str, Tensor]
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    observation: Observation | None = None
    device: str | torch.device = "cpu"
    seed: int = 0
    first: int = 0
    progress: Callable[[Costs], None] = _no_progress

    def __post_init__(self) -> None:
        moved = {
            "batch": {name: tensor.to(self.device) for name, tensor in self.batch.items()},
            "constraints": {name: one.to(self.device) for name, one in self.constraints.items()},
            "observation": None if self.observation is None else self.observation.to(self.device),
        }
        for name, value in moved.items():
            object.__setattr__(self, name, value)

    def projectable(self, name: str, which: Tensor | None = None) -> ProjectableConstraint:
        """The constraint of this name. The study's check ensures that it has a projection.

        Args:
            name: name of the constraint.
            which: indices (N,) of the samples of the batch whose constraints are meant; None for all.
        """
        return cast("ProjectableConstraint", self._of(name, which))

    def gaussian_conditioning(self, name: str, which: Tensor | None = None) -> GaussianConditioning:
        """The constraint of this name. The study's check ensures that a Gaussian can be conditioned on it.

        Args:
            name: name of the constraint.
            which: indices (N,) of the samples of the batch whose constraints are meant; None for all.
        """
        return cast("GaussianConditioning", self._of(name, which))

    def _of(self, name: str, which: Tensor | None) -> Constraint:
        constraint = self.constraints[name]
        return constraint if which is None else constraint.select(which)

    def linear(self, name: str) -> LinearEqualityConstraint:
        """The constraint of this name. The study's check ensures that it is a linear equality."""
        return cast("LinearEqualityConstraint", self.constraints[name])

    def observed(self) -> Observation:
        """The observation.

        Raises:
            ValueError: the task has no observation.
        """
        if self.observation is None:
            raise ValueError("this sampler requires an observation, and the task has none.")
        return self.observation


@dataclass(frozen=True)
class Samples:
    """The output of a sampler, on the device of its task.

    Attributes:
        state: the samples (B, ...), in the data's units.
        details: further tensors (B, ...) about each sample, by name.
        costs: the cost of the samples.
    """

    state: Tensor
    details: Mapping[str, Tensor]
    costs: Costs

    def by_name(self) -> dict[str, Tensor]:
        """The samples as `state`, together with the details."""
        return {"state": self.state, **self.details}

    def cpu(self) -> Samples:
        """The samples on the CPU, to be stored."""
        details = {name: tensor.cpu() for name, tensor in self.details.items()}
        return Samples(self.state.cpu(), details, self.costs)

"""What is asked of a sampler, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from plumbline.constraints import ConditionableConstraint, Constraint, ProjectableConstraint
    from plumbline.observations._observation import Observation


@dataclass
class Costs:
    """What drawing a batch costs, in operations on the whole batch: counted as it is drawn."""

    network_evaluations: int = 0
    backward_passes: int = 0
    projection_solves: int = 0

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
    """What is asked of a sampler.

    Attributes:
        batch: the variables of the test samples that these are drawn for (B, ...), by name. What is drawn must not depend on
            `state`, except through its shape.
        constraints: constraints by name, bound to the conditions of this batch.
        observation: what was measured of the true states, where the study observes them.
        device: where to draw.
        progress: called with the costs so far after each network evaluation.
    """

    batch: Mapping[str, Tensor]
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    observation: Observation | None = None
    device: str | torch.device = "cpu"
    progress: Callable[[Costs], None] = _no_progress

    def batch_on_device(self) -> dict[str, Tensor]:
        """The batch, on the device."""
        return {name: tensor.to(self.device) for name, tensor in self.batch.items()}

    def projectable(self, name: str) -> ProjectableConstraint:
        """A constraint that has a projection; the study's check has seen to that."""
        return cast("ProjectableConstraint", self.constraints[name])

    def linear(self, name: str) -> ConditionableConstraint:
        """A linear constraint; the study's check has seen to that."""
        return cast("ConditionableConstraint", self.constraints[name])

    def observed(self) -> Observation:
        """The observation.

        Raises:
            ValueError: there is none.
        """
        if self.observation is None:
            raise ValueError("this sampler draws for an observation, and the task has none.")
        return self.observation


@dataclass(frozen=True)
class Samples:
    """What a sampler returns.

    Attributes:
        state: the samples (B, ...), in the data's units.
        details: further tensors (B, ...) that say more of each sample, by name.
        costs: what they cost.
    """

    state: Tensor
    details: Mapping[str, Tensor]
    costs: Costs

    def by_name(self) -> dict[str, Tensor]:
        """The samples under `state`, with their details."""
        return {"state": self.state, **self.details}

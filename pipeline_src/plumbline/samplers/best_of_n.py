r"""Best of n: draws n candidates per sample with any sampler, and keeps the one with the smallest distance.

An equality constraint holds with probability zero, so exact rejection sampling would never end. With n
candidates per sample, the kept ones come from the fraction 1/n with the smallest distance to the constraint.
Their distribution tends to the constrained distribution as n grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.samplers import ImposingSpec, Samples, SamplingTask, WrappingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import Tensor


class BestOfNSpec(ImposingSpec, WrappingSpec):
    """Draws several candidates per sample and keeps the one with the smallest constraint distance."""

    kind: Literal["best_of_n"] = "best_of_n"
    draws: int = key(ge=2, default=8)
    """Candidates per sample."""

    def draw(self, model: object, task: SamplingTask) -> Samples:
        import torch

        best = self._finished(model, task)
        costs, constraint = best.costs, task.constraints[self.constraint]
        least = constraint.distance(best.state)
        for _ in range(self.draws - 1):
            drawn = self._finished(model, task)
            costs = costs + drawn.costs
            distance = constraint.distance(drawn.state)
            better = distance < least
            least = torch.minimum(distance, least)
            best = Samples(
                _chosen(better, drawn.state, best.state),
                {name: _chosen(better, drawn.details[name], value) for name, value in best.details.items()},
                costs,
            )
        return best

    def _finished(self, model: object, task: SamplingTask) -> Samples:
        drawn = self.base.draw(model, task)
        return self.base.finish(Samples(drawn.state.double(), drawn.details, drawn.costs), task)

    def finish(self, drawn: Samples, task: SamplingTask) -> Samples:
        return drawn


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    import torch

    return torch.where(better.view(-1, *(1,) * (new.ndim - 1)), new, old)

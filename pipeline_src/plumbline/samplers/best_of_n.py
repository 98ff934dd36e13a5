r"""Best of n: draw n times by any sampler, and keep for each sample the draw that is nearest to the constraint.

An equality holds with probability zero, so that exact rejection sampling never ends. With n draws a sample the kept ones come from
the share 1/n of least distance, which tends to the constrained distribution as n grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import Costs, Samples, SamplingTask, WrappingSpec
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import Tensor


class BestOfNSpec(WrappingSpec):
    """The best of several finished draws by constraint distance, sample by sample."""

    kind: Literal["best_of_n"] = "best_of_n"
    draws: int = key(ge=2, default=8)
    """Draws for each sample that is kept."""

    def draw(self, model: Any, task: SamplingTask) -> Samples:
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

    def _finished(self, model: Any, task: SamplingTask) -> Samples:
        drawn = self.base.draw(model, task)
        finished = self.base.finish(drawn.state.double(), task, drawn.costs)
        return Samples(finished, drawn.details, drawn.costs)

    def finish(self, x: Tensor, task: SamplingTask, costs: Costs) -> Tensor:
        return x


def _chosen(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    import torch

    return torch.where(better.view(-1, *(1,) * (new.ndim - 1)), new, old)

r"""Gradient descent on a latent vector (Engel, Hoffman, Roberts, ICLR 2018, section 5; without an actor).

From a draw of the prior, or from the latent vector of a test sample that is to be changed, Adam minimises

    w_a [ cross-entropy of the labels, or shortfall of levels ] + w_r L_1(realism) + w_d L_dist(z, z_0)

over z, each sample by itself, until the critics are content with it: further on they are asked about vectors that they were
never trained on, and content with what is no sample at all. The released notebook stops there too. It asks its one conditional
critic for the labels and the realism at once; these are two critics, as in the paper.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import Tensor


class LatentDescentSpec(SamplerSpec):
    """Latent vectors moved by gradients of critics to where what is wanted holds."""

    kind: Literal["latent_descent"] = "latent_descent"
    start: Literal["prior", "posterior"] = "prior"
    """Where from: draws of the prior, for the labels of the test samples; or test samples, to be changed to other labels."""
    steps: int = key("Adam steps", ge=1, default=100)
    """Steps (published: 100 to 300)."""
    learning_rate: float = key(gt=0, default=0.05)
    """Learning rate of Adam."""
    attribute_weight: float = key(ge=0, default=1.0)
    """w_a."""
    realism_weight: float = key(ge=0, default=0.1)
    """w_r."""
    distance_weight: float = key(ge=0, default=0.0)
    """w_d."""
    enough_realism: float = key("probability", gt=0, lt=1, default=0.7)
    """Realism that a sample stops at, where that is weighted; published: 0.3, of a critic that is shown twice as many draws."""
    enough_labels: float = key("probability", gt=0, lt=1, default=0.99)
    """Probability of the labels that it stops at, where these are weighted; levels are reached or not."""

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        batch, costs = task.batch_on_device(), Costs()
        y = model.wanted.of(batch)
        if self.start == "prior":
            origin = model.space.prior_draws(batch)
        else:
            origin, y = model.space.posterior_draws(batch), model.wanted.changed(y)
        z = origin.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([z], lr=self.learning_rate)
        done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        for _ in range(self.steps):
            optimiser.zero_grad()
            with torch.enable_grad():
                losses = self._losses(model, z, origin, y, batch)
                sum(losses.values(), z.new_zeros(len(z))).sum().backward(inputs=[z])
            done = done | self._content(losses)
            if bool(done.all()):
                break
            before = z.detach().clone()
            optimiser.step()
            with torch.no_grad():
                z.copy_(torch.where(done[:, None], before, z))
            costs.network_evaluations += 1
            costs.backward_passes += 1
            task.progress(costs)
        with torch.no_grad():
            moved = z.detach()
            state = model.space.decode(moved, batch)
            details = {"latent_shift": model.space.shift(moved, origin), **model.wanted.told(y)}
            if self.start == "posterior":
                details["source"] = model.space.decode(origin, batch)
        return Samples(state, details, costs)

    def _losses(
        self, model: Any, z: Tensor, origin: Tensor, y: Tensor, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted terms (B,) that have a weight, by name."""
        losses = {}
        if self.realism_weight:
            losses["realism"] = self.realism_weight * model.unrealistic(z)
        if self.attribute_weight and model.wanted.count:
            losses["labels"] = self.attribute_weight * model.mislabelled(z, y)
        elif self.attribute_weight:
            losses["levels"] = self.attribute_weight * model.wanted.violation(model.space.decode(z, batch))
        if self.distance_weight:
            losses["distance"] = self.distance_weight * model.space.distance(z, origin)
        return losses

    def _content(self, losses: dict[str, Tensor]) -> Tensor:
        """Whether each sample has enough of all that is weighted."""
        enough = {
            "realism": -self.realism_weight * math.log(self.enough_realism),
            "labels": -self.attribute_weight * math.log(self.enough_labels),
            "levels": 0.0,
        }
        reached = [losses[name].detach() <= bound for name, bound in enough.items() if name in losses]
        return functools.reduce(operator.and_, reached)

    @model_validator(mode="after")
    def _something_to_reach(self) -> LatentDescentSpec:
        if not (self.attribute_weight or self.realism_weight):
            raise ValueError(
                "`attribute_weight` and `realism_weight` are both zero: nothing moves the vectors"
            )
        return self

    def needs(self) -> str:
        return "critics"

    def tradeoff_parameter(self) -> str | None:
        return "realism_weight"

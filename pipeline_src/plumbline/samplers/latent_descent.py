r"""Gradient descent on latent vectors, with critics but without an actor.

The descent starts from a sample of the prior, or from the latent vector of a test sample that is to be
edited. Adam minimises

    w_a [ cross-entropy of the labels, or violation of the levels ] + w_r L_1(realism) + w_d L_dist(z, z_0)

over z, separately for each sample, until the critics accept it. Further descent would reach vectors that the
critics were never trained on, where they accept vectors that decode to no realistic sample. The released
notebook stops there too. It uses one conditional critic for both the labels and the realism; here they are
two critics, as in the paper.

Source: Engel, Hoffman, Roberts (ICLR 2018), section 5, https://arxiv.org/abs/1711.05772.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Literal, cast

from pydantic import model_validator

from plumbline.samplers import Costs, Criticising, SamplerSpec, Samples, SamplingTask
from plumbline.spec import key

if TYPE_CHECKING:
    from torch import Tensor

    from plumbline.samplers._models import WantedLevels


class LatentDescentSpec(SamplerSpec):
    """Moves latent vectors down the gradients of critics until the requested labels or levels hold.

    Source: Engel, Hoffman, Roberts (ICLR 2018, https://arxiv.org/abs/1711.05772).
    """

    kind: Literal["latent_descent"] = "latent_descent"
    start: Literal["prior", "posterior"] = "prior"
    """Starting point: `prior` draws from the prior and aims at the labels of the test samples; `posterior`
    encodes the test samples and aims at other labels."""
    steps: int = key("Adam steps", ge=1, default=100)
    """Largest number of steps (published: 100 to 300)."""
    learning_rate: float = key(gt=0, default=0.05)
    """Learning rate of Adam."""
    attribute_weight: float = key(ge=0, default=1.0)
    """w_a: weight of the labels or levels."""
    realism_weight: float = key(ge=0, default=0.1)
    """w_r: weight of the realism critic."""
    distance_weight: float = key(ge=0, default=0.0)
    """w_d: weight of the distance from the starting point."""
    enough_realism: float = key("probability", gt=0, lt=1, default=0.7)
    """Realism at which a sample stops, if realism is weighted (published: 0.3, for a critic trained on twice
    as many prior samples)."""
    enough_labels: float = key("probability", gt=0, lt=1, default=0.99)
    """Probability of the labels at which a sample stops, if labels are weighted. Levels must be reached."""

    def draw(self, model: Criticising, task: SamplingTask) -> Samples:
        import torch

        batch, costs = task.batch, Costs()
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
            done = done | self._accepted(losses)
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
            details = {"latent_shift": model.space.shift(moved, origin), **model.wanted.by_name(y)}
            if self.start == "posterior":
                details["source"] = model.space.decode(origin, batch)
        return Samples(state, details, costs)

    def _losses(
        self, model: Criticising, z: Tensor, origin: Tensor, y: Tensor, batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """The weighted loss terms (B,) with a nonzero weight, by name."""
        losses = {}
        if self.realism_weight:
            losses["realism"] = self.realism_weight * model.unrealistic(z)
        if self.attribute_weight and model.wanted.count:
            losses["labels"] = self.attribute_weight * model.mislabelled(z, y)
        elif self.attribute_weight:
            levels = cast("WantedLevels", model.wanted)
            losses["levels"] = self.attribute_weight * levels.violation(model.space.decode(z, batch))
        if self.distance_weight:
            losses["distance"] = self.distance_weight * model.space.distance(z, origin)
        return losses

    def _accepted(self, losses: dict[str, Tensor]) -> Tensor:
        """Whether each sample (B,) satisfies every stopping criterion that has a weight."""
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
                "`attribute_weight` and `realism_weight` are both zero: raise one, or no vector moves"
            )
        return self

    def requires_of_model(self) -> type:
        return Criticising

    def tradeoff_parameter(self) -> str | None:
        return "realism_weight"

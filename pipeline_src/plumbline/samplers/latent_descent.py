r"""Gradient descent on a latent vector (Engel, Hoffman, Roberts, ICLR 2018, section 5; without an actor).

From a draw of the prior, or from the latent vector of a test sample that is to be changed, Adam minimises

    w_a [ cross-entropy of the labels, or shortfall of levels ] + w_r L_1(realism) + w_d L_dist(z, z_0)

over z, each sample by itself. The released notebook asks its one conditional critic for the labels and the realism at once; these
are two critics, as in the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import Problem, SamplerSpec
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

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        import torch

        batch = problem.known()
        y = model.wanted.of(batch)
        if self.start == "prior":
            origin = model.space.prior_draws(batch)
        else:
            origin, y = model.space.posterior_draws(batch), model.wanted.changed(y)
        z = origin.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([z], lr=self.learning_rate)
        for _ in range(self.steps):
            optimiser.zero_grad()
            with torch.enable_grad():
                self._loss(model, z, origin, y, batch).sum().backward(inputs=[z])
            optimiser.step()
            problem.costs.network_evaluations += 1
            problem.costs.backward_passes += 1
            problem.beat()
        with torch.no_grad():
            moved = z.detach()
            found = {
                "state": model.space.decode(moved, batch),
                "latent_shift": model.space.shift(moved, origin),
                **model.wanted.told(y),
            }
            if self.start == "posterior":
                found["source"] = model.space.decode(origin, batch)
        return found

    def _loss(self, model: Any, z: Tensor, origin: Tensor, y: Tensor, batch: dict[str, Tensor]) -> Tensor:
        loss = self.realism_weight * model.unrealistic(z)
        if self.attribute_weight:
            attribute = model.mislabelled(z, y)
            if not model.wanted.count:
                attribute = model.wanted.shortfall(model.space.decode(z, batch))
            loss = loss + self.attribute_weight * attribute
        if self.distance_weight:
            loss = loss + self.distance_weight * model.space.distance(z, origin)
        return loss

    def needs(self) -> str:
        return "critics"

    def dial(self) -> str | None:
        return "realism_weight"

"""Draws of the prior until one has the labels that are wanted, as the attribute critic tells."""

from __future__ import annotations

from typing import Any, Literal

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask
from plumbline.spec import key


class LatentRejectionSpec(SamplerSpec):
    """Rejection sampling in the latent space; a sample that never had its labels keeps its last draw."""

    kind: Literal["latent_rejection"] = "latent_rejection"
    proposals: int = key("draws", ge=1, default=200)
    """Most draws for a sample."""

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        batch, costs = task.batch_on_device(), Costs()
        y = model.wanted.of(batch)
        with torch.no_grad():
            z = model.space.prior_draws(batch)
            accepted = model.has_labels(z, y) > 0
            for _ in range(self.proposals - 1):
                if bool(accepted.all()):
                    break
                costs.network_evaluations += 1
                proposed = model.space.prior_draws(batch)
                z = torch.where(accepted[:, None], z, proposed)
                accepted = accepted | (model.has_labels(z, y) > 0)
            costs.network_evaluations += 1
            state = model.space.decode(z, batch)
        return Samples(state, {"accepted": accepted.float(), **model.wanted.told(y)}, costs)

    def needs(self) -> str:
        return "label_critic"

"""Rejection sampling from the prior until the attribute critic finds the requested labels."""

from __future__ import annotations

from typing import Literal

from plumbline.samplers import Costs, LabelCriticising, SamplerSpec, Samples, SamplingTask
from plumbline.spec import key


class LatentRejectionSpec(SamplerSpec):
    """Rejection sampling in the latent space. If no proposal has the requested labels, it keeps the last."""

    kind: Literal["latent_rejection"] = "latent_rejection"
    proposals: int = key(ge=1, default=200)
    """Largest number of proposals per sample."""

    def draw(self, model: LabelCriticising, task: SamplingTask) -> Samples:
        import torch

        batch, costs = task.batch, Costs()
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
        return Samples(state, {"accepted": accepted.float(), **model.wanted.by_name(y)}, costs)

    def requires_of_model(self) -> type:
        return LabelCriticising

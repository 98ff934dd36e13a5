"""Decoded latent vectors that a model draws, from its prior or a transformed prior."""

from __future__ import annotations

from typing import Literal

from plumbline.samplers import Costs, LatentVariable, SamplerSpec, Samples, SamplingTask


class LatentsSpec(SamplerSpec):
    """Draws latent vectors from a model and decodes them to their mean."""

    kind: Literal["latents"] = "latents"

    def draw(self, model: LatentVariable, task: SamplingTask) -> Samples:
        import torch

        batch = task.batch
        with torch.no_grad():
            state = model.decode(model.latent_draws(batch), batch)
        return Samples(state, {}, Costs(network_evaluations=1))

    def requires_of_model(self) -> type:
        return LatentVariable

"""Draws of latent vectors, decoded: of the prior, or what a model makes of it."""

from __future__ import annotations

from typing import Any, Literal

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask


class LatentsSpec(SamplerSpec):
    """Decoded means of the latent vectors that a model draws."""

    kind: Literal["latents"] = "latents"

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        batch = task.batch_on_device()
        with torch.no_grad():
            state = model.decode(model.latent_draws(batch), batch)
        return Samples(state, {}, Costs(network_evaluations=1))

    def needs(self) -> str:
        return "latents"

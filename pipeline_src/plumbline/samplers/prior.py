"""Draws from the prior of a latent-variable model, decoded."""

from __future__ import annotations

from typing import Any, Literal

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask


class PriorSpec(SamplerSpec):
    """Decoded draws of the prior; beside each, how the model codes the test sample of the same number."""

    kind: Literal["prior"] = "prior"

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        with torch.no_grad():
            drawn = dict(model.draw(task.batch_on_device()))
        return Samples(drawn.pop("state"), drawn, Costs(network_evaluations=1))

    def needs(self) -> str:
        return "prior"

"""Decoded samples from the prior of a latent-variable model."""

from __future__ import annotations

from typing import Literal

from plumbline.samplers import Costs, PriorSampling, SamplerSpec, Samples, SamplingTask


class PriorSpec(SamplerSpec):
    """Draws from the prior and decodes.

    The reconstruction and likelihood of the test sample with the same index are stored with each sample.
    """

    kind: Literal["prior"] = "prior"

    def draw(self, model: PriorSampling, task: SamplingTask) -> Samples:
        import torch

        with torch.no_grad():
            drawn = dict(model.draw(task.batch))
        return Samples(drawn.pop("state"), drawn, Costs(network_evaluations=1))

    def requires_of_model(self) -> type:
        return PriorSampling

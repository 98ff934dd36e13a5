"""Test samples, encoded and decoded."""

from __future__ import annotations

from typing import Any, Literal

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask


class ReconstructionSpec(SamplerSpec):
    """Test samples, encoded and decoded: the best that draws in the latent space can come to."""

    kind: Literal["reconstruction"] = "reconstruction"

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        batch = task.batch_on_device()
        with torch.no_grad():
            state = model.decode(model.posterior_draws(batch), batch)
        return Samples(state, {}, Costs(network_evaluations=2))

    def needs(self) -> str:
        return "posterior"

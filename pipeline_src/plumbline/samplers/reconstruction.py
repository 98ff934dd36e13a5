"""Reconstructions: test samples, encoded and decoded."""

from __future__ import annotations

from typing import Literal

from plumbline.samplers import Costs, PosteriorEncoding, SamplerSpec, Samples, SamplingTask


class ReconstructionSpec(SamplerSpec):
    """Encodes and decodes the test samples: a bound on the quality of samples from the latent space."""

    kind: Literal["reconstruction"] = "reconstruction"

    def draw(self, model: PosteriorEncoding, task: SamplingTask) -> Samples:
        import torch

        batch = task.batch
        with torch.no_grad():
            state = model.decode(model.posterior_draws(batch), batch)
        return Samples(state, {}, Costs(network_evaluations=2))

    def requires_of_model(self) -> type:
        return PosteriorEncoding

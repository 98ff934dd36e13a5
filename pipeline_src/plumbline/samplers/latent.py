"""Draws of latent vectors, decoded: of the prior or what a model makes of it, and of the samples themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import Problem, SamplerSpec

if TYPE_CHECKING:
    from torch import Tensor


class LatentsSpec(SamplerSpec):
    """Decoded means of the latent vectors that a model draws."""

    kind: Literal["latents"] = "latents"

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        import torch

        batch = problem.known()
        with torch.no_grad():
            problem.costs.network_evaluations += 1
            return {"state": model.decode(model.latent_draws(batch), batch)}

    def needs(self) -> str:
        return "latents"


class ReconstructionSpec(SamplerSpec):
    """Test samples, encoded and decoded: the best that draws in the latent space can come to."""

    kind: Literal["reconstruction"] = "reconstruction"

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        import torch

        batch = problem.known()
        with torch.no_grad():
            problem.costs.network_evaluations += 2
            return {"state": model.decode(model.posterior_draws(batch), batch)}

    def needs(self) -> str:
        return "posterior"

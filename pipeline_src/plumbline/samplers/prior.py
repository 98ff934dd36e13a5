"""Draws from the prior of a latent-variable model, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import Problem, SamplerSpec

if TYPE_CHECKING:
    from torch import Tensor


class PriorSpec(SamplerSpec):
    """Decoded draws of the prior; beside each, how the model codes the test sample of the same number."""

    kind: Literal["prior"] = "prior"

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        import torch

        with torch.no_grad():
            problem.costs.network_evaluations += 1
            return model.draw(problem.known())

    def needs(self) -> str:
        return "prior"

"""Draws from a predictive distribution, one for the condition of each test sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import Problem, SamplerSpec

if TYPE_CHECKING:
    from torch import Tensor


class PredictiveSpec(SamplerSpec):
    """One draw from the model's predictive distribution, with its mean, its deviation and the likelihood of the truth."""

    kind: Literal["predictive"] = "predictive"

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        import torch

        with torch.no_grad():
            problem.costs.network_evaluations += 1
            prediction = model.predict(problem.known())
        return prediction

    def needs(self) -> str:
        return "prediction"

"""Draws from a predictive distribution, one for the condition of each test sample."""

from __future__ import annotations

from typing import Any, Literal

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask


class PredictiveSpec(SamplerSpec):
    """One draw from the model's predictive distribution, with its mean, its deviation and the likelihood of the truth."""

    kind: Literal["predictive"] = "predictive"

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        with torch.no_grad():
            prediction = dict(model.predict(task.batch_on_device()))
        return Samples(prediction.pop("state"), prediction, Costs(network_evaluations=1))

    def needs(self) -> str:
        return "prediction"

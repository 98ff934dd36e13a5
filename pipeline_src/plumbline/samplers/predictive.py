"""Samples from a predictive distribution, one per test sample, given its condition."""

from __future__ import annotations

from typing import Literal

from plumbline.samplers import Costs, Predictive, SamplerSpec, Samples, SamplingTask


class PredictiveSpec(SamplerSpec):
    """Draws one sample from the model's predictive distribution.

    Its mean, its standard deviation and the log-likelihood of the true state are stored with the sample.
    """

    kind: Literal["predictive"] = "predictive"

    def draw(self, model: Predictive, task: SamplingTask) -> Samples:
        import torch

        with torch.no_grad():
            prediction = dict(model.predict(task.batch))
        return Samples(prediction.pop("state"), prediction, Costs(network_evaluations=1))

    def requires_of_model(self) -> type:
        return Predictive

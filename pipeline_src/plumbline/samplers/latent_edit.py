"""Test samples changed by an actor: encoded, moved to other labels, decoded."""

from __future__ import annotations

from typing import Any, Literal

from plumbline.samplers import Costs, SamplerSpec, Samples, SamplingTask


class LatentEditSpec(SamplerSpec):
    """The next class, or the first attribute the other way, for each test sample; how far it was moved stands beside."""

    kind: Literal["latent_edit"] = "latent_edit"

    def draw(self, model: Any, task: SamplingTask) -> Samples:
        import torch

        batch = task.batch_on_device()
        with torch.no_grad():
            z = model.space.posterior_draws(batch)
            y = model.wanted.changed(model.wanted.of(batch))
            moved = model.moved(z, y)
            state = model.decode(moved, batch)
            details = {
                "latent_shift": model.space.shift(moved, z),
                "source": model.decode(z, batch),
                **model.wanted.told(y),
            }
        return Samples(state, details, Costs(network_evaluations=3))

    def needs(self) -> str:
        return "actor"

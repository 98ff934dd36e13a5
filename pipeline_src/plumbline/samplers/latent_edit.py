"""Edits test samples with an actor: encodes them, moves them to other labels, and decodes them.

Source: Engel, Hoffman, Roberts (ICLR 2018), https://arxiv.org/abs/1711.05772.
"""

from __future__ import annotations

from typing import Literal

from plumbline.samplers import Costs, LatentEditing, SamplerSpec, Samples, SamplingTask


class LatentEditSpec(SamplerSpec):
    """Edits each test sample with an actor: to the next class, or with its first attribute flipped.

    The displacement in the latent space is stored with the samples. Source: Engel, Hoffman, Roberts (ICLR
    2018, https://arxiv.org/abs/1711.05772).
    """

    kind: Literal["latent_edit"] = "latent_edit"

    def draw(self, model: LatentEditing, task: SamplingTask) -> Samples:
        import torch

        batch = task.batch
        with torch.no_grad():
            z = model.space.posterior_draws(batch)
            y = model.wanted.changed(model.wanted.of(batch))
            moved = model.moved(z, y)
            state = model.decode(moved, batch)
            details = {
                "latent_shift": model.space.shift(moved, z),
                "source": model.decode(z, batch),
                **model.wanted.by_name(y),
            }
        return Samples(state, details, Costs(network_evaluations=3))

    def requires_of_model(self) -> type:
        return LatentEditing

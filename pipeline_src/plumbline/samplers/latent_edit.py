"""Test samples changed by an actor: encoded, moved to other labels, decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from plumbline.samplers import Problem, SamplerSpec

if TYPE_CHECKING:
    from torch import Tensor


class LatentEditSpec(SamplerSpec):
    """The next class, or the first attribute the other way, for each test sample; how far it was moved stands beside."""

    kind: Literal["latent_edit"] = "latent_edit"

    def draw(self, model: Any, problem: Problem) -> dict[str, Tensor]:
        import torch

        batch = problem.known()
        with torch.no_grad():
            problem.costs.network_evaluations += 3
            z = model.space.posterior_draws(batch)
            y = model.wanted.changed(model.wanted.of(batch))
            moved = model.moved(z, y)
            return {
                "state": model.decode(moved, batch),
                "latent_shift": model.space.shift(moved, z),
                "source": model.decode(z, batch),
                **model.wanted.told(y),
            }

    def needs(self) -> str:
        return "actor"

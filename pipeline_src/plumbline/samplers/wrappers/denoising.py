"""Drawing by denoising: an azula sampler from its first noise to finished samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from azula.denoise import Denoiser
from azula.sample import Sampler
from torch import Tensor

from plumbline.samplers import Problem
from plumbline.samplers.wrappers.counting import CountingDenoiser


def denoise(
    model: Any, build: Callable[[Denoiser, Problem], Sampler], problem: Problem, *, last_noise: float = 0.0
) -> Tensor:
    """As many samples as the batch has conditions, in the data's units and double precision.

    The sampler ends at the smallest noise of the schedule; one more evaluation takes that noise off. `last_noise` is the
    standard deviation, in the model's space, of noise that is then added: none, but to follow code that does so.
    """
    batch = {name: tensor.to(problem.device) for name, tensor in problem.batch.items()}
    problem.space = model.space_of(batch)
    conditions = model.conditions(batch)
    # Only the shape of the states is looked at.
    shape = tuple(problem.space.encode(batch["state"]).shape)
    denoiser = CountingDenoiser(model.denoiser, problem.costs, problem.beat)
    sampler = build(denoiser, problem)
    z = sampler(sampler.init(shape, device=problem.device), **conditions)
    with torch.no_grad():
        mean = sampler.denoiser(z, torch.tensor(sampler.stop, device=problem.device), **conditions).mean
        if last_noise:
            mean = mean + last_noise * torch.randn_like(mean)
        return problem.space.decode(mean.double())

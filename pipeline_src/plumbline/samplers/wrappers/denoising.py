"""Drawing by denoising: an azula sampler from its first noise to finished samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from plumbline.samplers import DenoisingSpec, Problem
from plumbline.samplers.wrappers.counting import CountingDenoiser


def denoise(model: Any, spec: DenoisingSpec, problem: Problem) -> Tensor:
    """As many samples as the batch has conditions, in the data's units and double precision."""
    batch = problem.known()
    problem.space = model.space_of(batch)
    conditions = model.conditions(batch)
    # Only the shape of the states is looked at.
    shape = tuple(problem.space.encode(batch["state"]).shape)
    denoiser = CountingDenoiser(model.denoiser, problem.costs, problem.beat)
    sampler = spec.build(denoiser, problem)
    z = sampler(sampler.init(shape, device=problem.device), **conditions)
    with torch.no_grad():
        return problem.decode(spec.last(sampler, z, conditions).double())

"""Populations of particles: whether the samples of a batch can be one, and its effective sample size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.samplers._denoising import DenoisingContext


def effective_sample_size(log_weights: Float[Tensor, "P K"]) -> Float[Tensor, " P"]:
    """(sum w)^2 / (K sum w^2) of each population, between 1 / K and one."""
    return 1 / (log_weights.softmax(1).square().sum(1) * log_weights.shape[1])


def require_one_condition(conditions: Mapping[str, object], remedy: str) -> None:
    """Raises a ValueError if the keyword arguments of a denoiser differ between samples.

    Args:
        conditions: the keyword arguments (B, ...), by name.
        remedy: what to do then.
    """
    differing = [
        name
        for name, value in conditions.items()
        if isinstance(value, Tensor) and bool((value != value[:1]).any())
    ]
    if differing:
        raise ValueError(
            f"the {' and the '.join(differing)} differ between the samples of a batch, which therefore "
            f"cannot share a population: {remedy}."
        )


def require_one_constraint(context: DenoisingContext, name: str, remedy: str) -> None:
    """Raises a ValueError if the constraint of this name differs between the samples of a batch.

    Args:
        context: the constraint and the batch.
        name: name of the constraint.
        remedy: what to do then.
    """
    constraint, state = context.task.constraints[name], context.task.batch["state"]
    count = len(state)
    points = torch.randn(count, *state.shape[1:], dtype=torch.float64, device=state.device)
    if constraint.differs(points):
        raise ValueError(
            f"the targets of {name!r} differ between the samples of a batch, which therefore cannot share a "
            f"population: {remedy}."
        )

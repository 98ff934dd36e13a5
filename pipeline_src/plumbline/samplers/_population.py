"""Checks that the samples of a batch can be particles of one population."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plumbline.samplers._denoising import DenoisingContext


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
    others = torch.arange(count, device=state.device).roll(1)
    if not torch.equal(constraint.residual(points), constraint.select(others).residual(points)):
        raise ValueError(
            f"the targets of {name!r} differ between the samples of a batch, which therefore cannot share a "
            f"population: {remedy}."
        )

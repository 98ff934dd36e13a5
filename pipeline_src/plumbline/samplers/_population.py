"""Populations of particles: whether the samples of a batch can be one, and its effective sample size."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.samplers._denoising import DenoisingContext

logger = logging.getLogger("plumbline.samplers")

# Effective sample size, as a fraction of the particles, below which a warning is logged: standard errors of
# means are then more than 4.5 = .05^(-1/2) times those of as many independent samples.
FEW = 0.05


def effective_sample_size(log_weights: Float[Tensor, "P K"]) -> Float[Tensor, " P"]:
    """(sum w)^2 / (K sum w^2) of each population, between 1 / K and one."""
    return 1 / (log_weights.softmax(1).square().sum(1) * log_weights.shape[1])


def warn_if_few(kind: str, sizes: Float[Tensor, " P"], remedy: str) -> None:
    """Logs a warning if an effective sample size is below `FEW`.

    Args:
        kind: the kind of the sampler.
        sizes: the effective sample sizes, as fractions of the particles.
        remedy: what to do then.
    """
    least = float(sizes.min())
    if least < FEW:
        logger.warning(
            "%s: the effective sample size fell to %.2g of the particles: %s.", kind, least, remedy
        )


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

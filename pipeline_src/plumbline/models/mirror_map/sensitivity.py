"""The unit of a constraint's weight in the losses of inverse maps: what white noise does to the constraint."""

from __future__ import annotations

import torch
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.models.spaces.standardisation import Standardisation

# Share of the noise that |g(f(y)) - y| costs to keep: half of E|e|.
NOISE_COST = 0.4
# Samples that the sensitivity is measured on, at most.
PROBES = 256


def unit_of_weight(
    constraint: Constraint, data: dict[str, Tensor], space: Standardisation, sigma: float
) -> float:
    """0.4 / kappa, with kappa the growth of the distance with noise of `sigma` in a space, on the first samples of the data."""
    probes = {name: tensor[:PROBES] for name, tensor in data.items()}
    return NOISE_COST / sensitivity(constraint, probes, space, sigma)


@torch.no_grad()
def sensitivity(
    constraint: Constraint, batch: dict[str, Tensor], space: Standardisation, sigma: float
) -> float:
    """The mean distance that noise of the standard deviation `sigma` in a space makes, over `sigma`."""
    z = space.encode(batch["state"])
    noisy = space.decode(z + sigma * torch.randn_like(z))
    return float(constraint.given(batch).distance(noisy).mean() / sigma)

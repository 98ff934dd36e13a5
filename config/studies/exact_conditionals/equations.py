"""Equations of the studies in this folder: residuals h(x, known) for the constraint `equations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def reaction_mass(x: Tensor, known: dict[str, Tensor]) -> Tensor:
    """The mass at time zero, and the law of its change, for concentrations (B, time, x).

    Args:
        x: concentrations.
        known: `reaction_step` (B,), time step times rate, and `initial_mass` (B,).
    """
    mass = x.sum(2)
    produced = known["reaction_step"][:, None] * (x * (1 - x)).sum(2)[:, :-1]
    change = mass[:, 1:] - mass[:, :-1] - produced
    return torch.cat([mass[:, :1] - known["initial_mass"][:, None], change], dim=1)

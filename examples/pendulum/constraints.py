"""The physics of this project, in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def energy_drift(x: Tensor) -> Tensor:
    """The energy at each time but the first, less that at the first: (B, T - 1) for states (B, 2, T)."""
    angle, velocity = x[:, 0], x[:, 1]
    energy = velocity.square() / 2 - angle.cos()
    return energy[:, 1:] - energy[:, :1]

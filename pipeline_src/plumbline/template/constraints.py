"""Constraints of this project.

The Snakefile imports this file whenever it loads: import torch and other large packages inside functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from plumbline.constraints import Constraint, ConstraintSpec, ProjectableConstraint
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class OnCircle(Constraint):
    """Points (B, 2) on a circle around the origin."""

    def __init__(self, radius: float) -> None:
        self.radius = radius

    def residual(self, x: Tensor) -> Tensor:
        """|x| - r, of shape (B, 1)."""
        return x.norm(dim=1, keepdim=True) - self.radius

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the circle."""
        return x * (self.radius / x.norm(dim=1, keepdim=True))


class OnCircleSpec(ConstraintSpec):
    """Points of the plane lie on a circle around the origin."""

    kind: Literal["on_circle"] = "on_circle"
    radius: float = key(gt=0, default=1.0)
    """Radius of the circle."""

    def build(self, example: xr.Dataset) -> OnCircle:
        if example["state"].shape[1:] != (2,):
            raise ValueError(
                f"`on_circle` needs points of the plane, found samples of shape {example['state'].shape[1:]}"
            )
        return OnCircle(self.radius)

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

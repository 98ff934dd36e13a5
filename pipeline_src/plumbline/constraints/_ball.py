r"""Balls |x - c| <= r and spheres |x - c| = r.

The nearest point is c + r (x - c) / |x - c|; a sample inside a ball is left as it is. The residual is
|x - c| - r for a sphere and its positive part for a ball.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.constraints._known import Quantity

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("plumbline.constraints")


class Sphere(Constraint):
    """|x - center| = radius for samples (B, *S).

    Args:
        radius: a positive number, or the name of a variable with one number per sample.
        center: a number, a tensor (*S), or the name of a variable with one entry per sample.
        unit: unit of the samples.

    Raises:
        ValueError: the radius is not positive and finite, or the center has NaN.
    """

    smooth = True

    def __init__(self, radius: float | str, *, center: float | Tensor | str = 0.0, unit: str = "1") -> None:
        self.radius = Quantity.of("radius", radius)
        self.center = Quantity.of("center", center)
        self.unit = unit
        if self.radius.values is not None:
            _require_positive(self.radius.values)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Sphere:
        """The sphere or ball with the radii and centers in `known`, where these are variables."""
        bound = copy.copy(self)
        bound.radius, bound.center = self.radius.bind(known), self.center.bind(known)
        if bound.radius.variable and bound.radius.values is not None:
            _require_positive(bound.radius.values)
        return bound

    def select(self, which: Int[Tensor, " b"]) -> Sphere:
        chosen = copy.copy(self)
        chosen.radius, chosen.center = self.radius.select(which), self.center.select(which)
        return chosen

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B 1"]:
        """|x - c| - r, in the unit of x."""
        return self._excess(x)[:, None].to(x.dtype)

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """|residual| / (|x| + |c| + r)."""
        center = self.center.like(x).expand(x.shape).flatten(1)
        size = x.double().flatten(1).norm(dim=1) + center.norm(dim=1) + self._radius(x)
        return self.residual(x)[:, 0].abs() / size.to(x.dtype)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest point of the sphere. A sample exactly at the center is moved along its first
        coordinate, and a warning is logged.
        """
        away = x.double() - self.center.like(x)
        distance = away.flatten(1).norm(dim=1)
        at_center = distance == 0
        if bool(at_center.any()):
            logger.warning(
                "sphere: %d of %d samples lie at the center, where all points of the sphere are equally "
                "near; they are moved along their first coordinate.",
                int(at_center.sum()),
                len(x),
            )
            first = torch.zeros_like(away.flatten(1))
            first[:, 0] = 1.0
            shape = (-1, *[1] * (x.ndim - 1))
            away = torch.where(at_center.view(shape), first.view_as(away), away)
            distance = torch.where(at_center, 1.0, distance)
        return self._moved(x, away, self._radius(x) / distance)

    def _moved(self, x: Tensor, away: Tensor, factor: Tensor) -> Tensor:
        factor = factor.view(-1, *[1] * (x.ndim - 1))
        return (self.center.like(x) + factor * away).to(x.dtype)

    def _excess(self, x: Tensor) -> Tensor:
        return (x.double() - self.center.like(x)).flatten(1).norm(dim=1) - self._radius(x)

    def _radius(self, x: Tensor) -> Tensor:
        return self.radius.like(x).reshape(-1).expand(len(x))


class Ball(Sphere):
    """|x - center| <= radius for samples (B, *S), with the arguments of `Sphere`.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Ball
        >>> Ball(1.0).project(torch.tensor([[3.0, 4.0], [0.1, 0.2]]))
        tensor([[0.6000, 0.8000],
                [0.1000, 0.2000]])
    """

    smooth = False
    convex = True

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B 1"]:
        """The positive part of |x - c| - r, in the unit of x."""
        return self._excess(x).clamp(min=0)[:, None].to(x.dtype)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest point of the ball."""
        away = x.double() - self.center.like(x)
        radius = self._radius(x)
        factor = radius / torch.maximum(away.flatten(1).norm(dim=1), radius)
        inside = (factor == 1).view(-1, *[1] * (x.ndim - 1))
        return torch.where(inside, x, self._moved(x, away, factor))


def _require_positive(radius: Tensor) -> None:
    if not bool(((radius > 0) & torch.isfinite(radius)).all()):
        raise ValueError(f"`radius` must be positive and finite, found {float(radius.min()):g}.")

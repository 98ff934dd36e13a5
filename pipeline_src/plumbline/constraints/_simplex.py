r"""The simplex: nonnegative numbers that add up to a total.

The nearest point of {x >= 0, sum x = k} is max(x - theta, 0), with the unique theta for which the sum is k.
For entries in decreasing order, u_1 >= u_2 >= ..., theta = (u_1 + ... + u_r - k) / r for the largest r with
u_r > theta.

Source: Duchi, Shalev-Shwartz, Singer and Chandra 2008, https://doi.org/10.1145/1390156.1390191.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint
from plumbline.constraints._conditioner import IntervalConditioner
from plumbline.constraints._known import Quantity
from plumbline.constraints._linear_equality import LinearEquality

if TYPE_CHECKING:
    import xarray as xr


class Simplex(Constraint):
    """x >= 0 and sum x = total over axes of samples (B, *S), such as budget shares.

    Args:
        total: a positive number, or the name of a variable with one number per sample.
        axes: the axes of a sample that are summed, counted from zero; None for all.
        unit: unit of the samples.

    Raises:
        ValueError: the total is not positive and finite, or axes are repeated or negative.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Simplex
        >>> Simplex().project(torch.tensor([[0.5, 0.8, -1.0]]))
        tensor([[0.3500, 0.6500, 0.0000]])
    """

    convex = True

    def __init__(
        self, total: float | str = 1.0, *, axes: tuple[int, ...] | None = None, unit: str = "1"
    ) -> None:
        if axes is not None and (not axes or len(set(axes)) < len(axes) or min(axes) < 0):
            raise ValueError(f"`axes` must be different axes of a sample, counted from 0, found {axes}.")
        self.total = Quantity.of("total", total)
        self.axes = axes
        self.unit = unit
        if self.total.values is not None:
            _require_positive(self.total.values)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Simplex:
        """The simplex with the totals in `known`, where the total is a variable."""
        bound = copy.copy(self)
        bound.total = self.total.bind(known)
        if bound.total.variable and bound.total.values is not None:
            _require_positive(bound.total.values)
        return bound

    def select(self, which: Int[Tensor, " b"]) -> Simplex:
        chosen = copy.copy(self)
        chosen.total = self.total.select(which)
        return chosen

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B r"]:
        """Each sum minus the total, followed by the negative part of each entry, in the unit of x."""
        groups = self._groups(x)
        sums = groups.sum(2) - self._total(x)
        return torch.cat([sums, groups.clamp(max=0).flatten(1)], dim=1).to(x.dtype)

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The largest |residual| over the largest total plus sum of absolute values."""
        groups = self._groups(x)
        residual = self.residual(x).abs().flatten(1).amax(1)
        return residual / (groups.abs().sum(2) + self._total(x)).amax(1).to(x.dtype)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest point of the simplex, by sorting."""
        groups, total = self._groups(x), self._total(x)[..., None]
        falling = groups.sort(dim=2, descending=True).values
        ranks = torch.arange(1, groups.shape[2] + 1, dtype=torch.float64, device=x.device)
        thresholds = (falling.cumsum(2) - total) / ranks
        # The entries above their threshold come first.
        count = (falling > thresholds).sum(2, keepdim=True).clamp(min=1)
        found = (groups - thresholds.gather(2, count - 1)).clamp(min=0)
        return self._ungrouped(found, x).to(x.dtype)

    def conditioner(self, shift: Float[Tensor, "*S"], scale: Float[Tensor, "*S"]) -> IntervalConditioner:
        """Conditions Gaussians on the sums, then on the lower bound of each entry.

        Raises:
            ValueError: there are too many entries.
        """
        coordinates = shift.numel()
        places = torch.arange(coordinates, dtype=torch.float64, device=shift.device).view(1, *shift.shape)
        groups = self._groups(places)[0].long()
        matrix = torch.zeros(len(groups), coordinates, dtype=torch.float64, device=shift.device)
        matrix.scatter_(1, groups, 1.0)
        total = self.total.like(places) if self.total.variable is None else self.total.values
        assert total is not None
        total = total.double().reshape(-1, 1).expand(-1, len(groups))
        sums = LinearEquality(matrix, total[0] if len(total) == 1 else total)
        entries = torch.eye(coordinates, dtype=torch.float64, device=shift.device)
        lower = (-shift.double() / scale.double()).flatten()
        upper = torch.full_like(lower, torch.inf)
        return IntervalConditioner(entries, lower, upper, first=sums.conditioner(shift, scale))

    def _groups(self, x: Tensor) -> Float[Tensor, "B g k"]:
        """The entries in double precision, with those of one sum along the last axis."""
        axes = self._axes(x)
        moved = x.double().movedim(axes, tuple(range(x.ndim - len(axes), x.ndim)))
        kept = moved.shape[1 : x.ndim - len(axes)].numel()
        return moved.reshape(len(x), kept, moved.shape[x.ndim - len(axes) :].numel())

    def _ungrouped(self, groups: Tensor, x: Tensor) -> Tensor:
        axes = self._axes(x)
        ends = tuple(range(x.ndim - len(axes), x.ndim))
        moved = torch.empty(x.shape, device="meta").movedim(axes, ends)
        return groups.reshape(moved.shape).movedim(ends, axes)

    def _axes(self, x: Tensor) -> tuple[int, ...]:
        axes = tuple(range(1, x.ndim)) if self.axes is None else tuple(axis + 1 for axis in self.axes)
        if max(axes) >= x.ndim:
            raise ValueError(f"`axes` names axis {max(axes) - 1}, and samples have {x.ndim - 1} axes.")
        return axes

    def _total(self, x: Tensor) -> Float[Tensor, "#B 1"]:
        return self.total.like(x).reshape(-1, 1)


def _require_positive(total: Tensor) -> None:
    if not bool(((total > 0) & torch.isfinite(total)).all()):
        raise ValueError(f"`total` must be positive and finite, found {float(total.min()):g}.")

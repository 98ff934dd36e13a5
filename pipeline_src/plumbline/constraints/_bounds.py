r"""Bounds l <= x <= u on the coordinates of a sample.

The nearest feasible point is min(max(x, l), u) in each coordinate, and the residual is x minus this point.
Gaussians are conditioned on bounds in `plumbline.constraints._conditioner`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plumbline.constraints import Constraint, InfeasibleConstraintError
from plumbline.constraints._conditioner import CoordinateConditioner
from plumbline.constraints._known import Quantity

if TYPE_CHECKING:
    import xarray as xr


class Bounds(Constraint):
    """lower <= x <= upper for samples (B, *S).

    Args:
        lower: a number, a tensor (*S), or the name of a variable with one entry per sample; None for no
            lower bound.
        upper: the upper bound, given in the same way.
        unit: unit of the samples.

    Raises:
        ValueError: there is no bound, or a bound is NaN.
        InfeasibleConstraintError: a lower bound is above the upper one.

    Example:
        >>> import torch
        >>> from plumbline.constraints import Bounds
        >>> positive = Bounds(lower=0.0)
        >>> x = torch.tensor([[-0.5, 2.0]])
        >>> positive.residual(x), positive.project(x)
        (tensor([[-0.5000,  0.0000]]), tensor([[0., 2.]]))
    """

    convex = True

    def __init__(
        self,
        lower: float | Tensor | str | None = None,
        upper: float | Tensor | str | None = None,
        *,
        unit: str = "1",
    ) -> None:
        if lower is None and upper is None:
            raise ValueError("bounds need `lower`, `upper` or both, found neither.")
        self.lower = Quantity.of("lower", -torch.inf if lower is None else lower)
        self.upper = Quantity.of("upper", torch.inf if upper is None else upper)
        self.unit = unit
        if self.lower.values is not None and self.upper.values is not None:
            _require_order(self.lower.values, self.upper.values)

    def bind(self, known: Mapping[str, Tensor] | xr.Dataset) -> Bounds:
        """The bounds of these samples, where they are variables. Their order is checked on use."""
        bound = copy.copy(self)
        bound.lower, bound.upper = self.lower.bind(known), self.upper.bind(known)
        return bound

    def select(self, which: Int[Tensor, " b"]) -> Bounds:
        chosen = copy.copy(self)
        chosen.lower, chosen.upper = self.lower.select(which), self.upper.select(which)
        return chosen

    def residual(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """x - min(max(x, l), u), in the unit of x: positive above the bounds, negative below them."""
        lower, upper = self._bounds(x)
        wide = x.double()
        return ((wide - upper).clamp(min=0) - (lower - wide).clamp(min=0)).to(x.dtype)

    def violation(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, " B"]:
        """The largest |residual| over the largest absolute value of x and of the finite bounds."""
        size = x.abs().double()
        for bound in self._bounds(x):
            size = torch.maximum(size, torch.where(torch.isfinite(bound), bound, 0.0).abs())
        residual = self.residual(x).abs().flatten(1).amax(1)
        return residual / size.flatten(1).amax(1).clamp(min=torch.finfo(x.dtype).tiny).to(x.dtype)

    def project(self, x: Float[Tensor, "B *S"]) -> Float[Tensor, "B *S"]:
        """The nearest point between the bounds."""
        lower, upper = self._bounds(x)
        return torch.minimum(torch.maximum(x.double(), lower), upper).to(x.dtype)

    def conditioner(self, shift: Float[Tensor, "*S"], scale: Float[Tensor, "*S"]) -> CoordinateConditioner:
        """Conditions Gaussians on the bounds of the coordinates that have one."""
        given = [one.values for one in (self.lower, self.upper) if one.variable and one.values is not None]
        wide = shift.double().expand(max(map(len, given), default=1), *shift.shape)
        lower, upper = (
            ((bound - wide) / scale.double()).expand_as(wide).flatten(1) for bound in self._bounds(wide)
        )
        bounded = (torch.isfinite(lower) | torch.isfinite(upper)).any(0)
        places = bounded.nonzero().squeeze(1)
        lower, upper = (bound[0] if not given else bound for bound in (lower[:, places], upper[:, places]))
        return CoordinateConditioner(places, len(bounded), lower, upper)

    def _bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.lower.like(x), self.upper.like(x)
        if self.lower.variable or self.upper.variable:
            _require_order(lower, upper)
        return lower, upper


def _require_order(lower: Tensor, upper: Tensor) -> None:
    if bool((lower > upper).any()):
        least = torch.where(lower > upper, lower - upper, -torch.inf).max()
        raise InfeasibleConstraintError(
            "`lower` must be at most `upper`, found lower bounds above upper ones by up to "
            f"{float(least):.6g}."
        )

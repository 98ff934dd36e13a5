r"""Zero divergence of periodic velocity fields by backward differences, as on a staggered grid.

With u on the right faces and v on the upper faces of cells of side h, what flows out of a cell is

    (u_{i,j} - u_{i-1,j}) / h + (v_{i,j} - v_{i,j-1}) / h,

the divergence that finite-volume solvers keep at zero (jax-cfd; Feng, Baptista, Bouman 2025). Its symbols are
(1 - exp(-i k h)) / h, so that the nearest field without it is one pair of transforms away.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints.divergence.periodic import PeriodicDivergence


class BackwardDivergence(PeriodicDivergence):
    """div u = 0 by backward differences, for velocities (B, ..., 2, X, Y) on a periodic square of side `length`."""

    def residual(self, x: Float[Tensor, "B *F 2 X Y"]) -> Float[Tensor, "B *F X Y"]:
        """The outflow of each cell over its area (1/time)."""
        u, v = x.unbind(-3)
        hx, hy = (self.length / points for points in x.shape[-2:])
        return (u - u.roll(1, -2)) / hx + (v - v.roll(1, -1)) / hy

    def symbols(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hx, hy = (self.length / points for points in x.shape[-2:])
        kx, ky = self.wavenumbers(x)
        dx, dy = ((1 - torch.exp(-1j * k * h)) / h for k, h in ((kx, hx), (ky, hy)))
        return dx, dy

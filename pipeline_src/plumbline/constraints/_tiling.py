r"""Images x that repeat one tile, x_q = x_{q'} for all tiles q and q'.

The nearest such image repeats the mean of the tiles. The distance is the published one (Feng, Baptista and
Bouman 2025, https://arxiv.org/abs/2406.12816). With T(t) the image that repeats the tile t,

    l(x) = sum_q mean |x - T(x_q)|,

where the mean is over all entries of the image. It is zero exactly where the residual x - T(mean_q x_q) is.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from plumbline.constraints import Constraint


class Tiling(Constraint):
    """Images (B, ..., H, W) that repeat one tile `rows` by `columns` times.

    Args:
        rows: number of tiles along H.
        columns: number of tiles along W.
        grid: (H, W).

    Raises:
        ValueError: the grid is not a whole number of tiles.
    """

    convex = True
    smooth = True

    def __init__(self, rows: int, columns: int, grid: tuple[int, ...]) -> None:
        if grid[0] % rows or grid[1] % columns:
            raise ValueError(f"{rows} x {columns} tiles do not divide a grid of {grid[0]} x {grid[1]}.")
        self.rows, self.columns = rows, columns

    def residual(self, x: Float[Tensor, "B *C H W"]) -> Float[Tensor, "B *C H W"]:
        """The difference of each entry from the mean over the tiles at its place."""
        return x - self.project(x)

    def distance(self, x: Float[Tensor, "B *C H W"]) -> Float[Tensor, " B"]:
        """The sum over tiles of the mean absolute difference to the image that repeats this tile."""
        tiles = self._tiles(x).movedim((-4, -2), (1, 2)).reshape(len(x), self.rows * self.columns, -1)
        return torch.cdist(tiles, tiles, p=1).sum((1, 2)) / x[0].numel()

    def project(self, x: Float[Tensor, "B *C H W"]) -> Float[Tensor, "B *C H W"]:
        """The nearest image that repeats one tile, which is the mean of the tiles."""
        tiles = self._tiles(x.double())
        return tiles.mean((-4, -2), keepdim=True).expand_as(tiles).reshape(x.shape).to(x.dtype)

    def _tiles(self, x: Tensor) -> Tensor:
        """The tiles (B, ..., rows, h, columns, w)."""
        height, width = x.shape[-2:]
        return x.reshape(*x.shape[:-2], self.rows, height // self.rows, self.columns, width // self.columns)

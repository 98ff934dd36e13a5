"""Images that repeat one tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, ProjectableConstraint
from plumbline.coordinates import CoordinateError
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._tiling import Tiling


class TilingSpec(ConstraintSpec):
    """An image repeats one tile along both axes (Feng, Baptista and Bouman 2025: 2 by 2)."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["tiling"] = "tiling"
    rows: int = key(ge=1, default=2)
    """Number of tiles along the first axis of the grid."""
    columns: int = key(ge=1, default=2)
    """Number of tiles along the second axis of the grid."""

    def build(self, example: xr.Dataset) -> Tiling:
        from plumbline.constraints._tiling import Tiling

        if example["state"].ndim < 3:
            raise CoordinateError(
                f"`{self.kind}` needs samples on a grid, found vectors of {example['state'].shape[1]} values."
            )
        return Tiling(self.rows, self.columns, example["state"].shape[-2:])

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

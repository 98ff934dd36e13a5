"""Balls: an upper limit on the distance to a center, such as on an energy or a risk."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints._center_specs import CenteredSpec

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._ball import Ball


class BallSpec(CenteredSpec):
    """|x - center| <= radius, by the Euclidean norm of the flattened sample."""

    convex: ClassVar[bool] = True

    kind: Literal["ball"] = "ball"

    def build(self, example: xr.Dataset) -> Ball:
        from plumbline.constraints._ball import Ball

        return Ball(**self.geometry(example))

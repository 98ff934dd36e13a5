"""What balls and spheres have in common: the keys of a center and a distance to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypedDict

from pydantic import Field

from plumbline.constraints import ConstraintSpec, ProjectableConstraint

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class Geometry(TypedDict):
    """Arguments of `Ball` and `Sphere`."""

    radius: float | str
    center: float | Tensor | str
    unit: str


class CenteredSpec(ConstraintSpec):
    """Base of the constraints on the Euclidean distance of a flattened sample to a center."""

    radius: Annotated[float, Field(gt=0)] | str
    """Radius, in the data's unit: a number, or a variable of the dataset with one number per sample."""
    center: float | list[float] | str = 0.0
    """Center: a number, one number per coordinate of the flattened sample, or a variable of the dataset."""

    def geometry(self, example: xr.Dataset) -> Geometry:
        """Radius, center and unit for samples like those of `example`."""
        from plumbline.constraints._known import given_by, scalar_given_by, unit_of

        return {
            "radius": scalar_given_by(example, self.radius, f"`{self.kind}`: `radius`"),
            "center": given_by(example, self.center, f"`{self.kind}`: `center`"),
            "unit": unit_of(example),
        }

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

"""Spheres: a given distance to a center, such as a given norm of a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from plumbline.constraints import ConstraintSpec, ProjectableConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._ball import Sphere


class SphereSpec(ConstraintSpec):
    """|x - center| = radius, by the Euclidean norm of the flattened sample."""

    smooth: ClassVar[bool] = True

    kind: Literal["sphere"] = "sphere"
    radius: Annotated[float, Field(gt=0)] | str
    """Radius, in the data's unit: a number, or a variable of the dataset with one number per sample."""
    center: float | list[float] | str = 0.0
    """Center: a number, one number per coordinate of the flattened sample, or a variable of the dataset."""

    def build(self, example: xr.Dataset) -> Sphere:
        from plumbline.constraints._ball import Sphere
        from plumbline.constraints._known import given_by, scalar_given_by, unit_of

        radius = scalar_given_by(example, self.radius, f"`{self.kind}`: `radius`")
        center = given_by(example, self.center, f"`{self.kind}`: `center`")
        return Sphere(radius, center=center, unit=unit_of(example))

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

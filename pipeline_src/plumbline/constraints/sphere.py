"""Spheres: a given distance to a center, such as a given norm of a state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import GaussianConditioning, ProjectableConstraint
from plumbline.constraints._center_specs import CenteredSpec

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._ball import Sphere


class SphereSpec(CenteredSpec):
    """|x - center| = radius, by the Euclidean norm of the flattened sample."""

    smooth: ClassVar[bool] = True

    kind: Literal["sphere"] = "sphere"

    def build(self, example: xr.Dataset) -> Sphere:
        from plumbline.constraints._ball import Sphere

        return Sphere(**self.geometry(example))

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

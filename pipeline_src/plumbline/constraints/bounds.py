"""Bounds on the coordinates of a sample, such as positive densities or limits of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from plumbline.constraints import ConstraintSpec, GaussianConditioning, ProjectableConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._bounds import Bounds


class BoundsSpec(ConstraintSpec):
    """lower <= x <= upper in each coordinate."""

    convex: ClassVar[bool] = True

    kind: Literal["bounds"] = "bounds"
    lower: float | list[float] | str | None = None
    """Lower bound: a number, one number per coordinate of the flattened sample, or a variable of the dataset;
    null for no bound.
    """
    upper: float | list[float] | str | None = None
    """Upper bound, given in the same way; null for no bound."""

    @model_validator(mode="after")
    def _a_bound(self) -> BoundsSpec:
        if self.lower is None and self.upper is None:
            raise ValueError("give `lower`, `upper` or both")
        return self

    def build(self, example: xr.Dataset) -> Bounds:
        from plumbline.constraints._bounds import Bounds
        from plumbline.constraints._known import given_by, unit_of

        lower, upper = (
            None if value is None else given_by(example, value, f"`{self.kind}`: `{name}`")
            for name, value in (("lower", self.lower), ("upper", self.upper))
        )
        return Bounds(lower, upper, unit=unit_of(example))

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

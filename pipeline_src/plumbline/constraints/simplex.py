"""The simplex: nonnegative numbers that add up to a total, such as budget shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from plumbline.constraints import ConstraintSpec, GaussianConditioning, ProjectableConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._simplex import Simplex


class SimplexSpec(ConstraintSpec):
    """Nonnegative numbers that add up to a total."""

    convex: ClassVar[bool] = True

    kind: Literal["simplex"] = "simplex"
    total: Annotated[float, Field(gt=0)] | str = 1.0
    """The total, in the data's unit: a number, or a variable of the dataset with one number per sample."""
    over: tuple[str, ...] | None = None
    """Dimensions that are summed, with one total for each place along the others; null for all dimensions."""

    def build(self, example: xr.Dataset) -> Simplex:
        from plumbline.constraints._known import axes_of, scalar_given_by, unit_of
        from plumbline.constraints._simplex import Simplex

        axes = None if self.over is None else axes_of(example, self.over, f"`{self.kind}`: `over`")
        total = scalar_given_by(example, self.total, f"`{self.kind}`: `total`")
        return Simplex(total, axes=axes, unit=unit_of(example))

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

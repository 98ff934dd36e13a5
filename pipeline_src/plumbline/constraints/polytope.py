"""Linear inequalities A x <= b: capacities, limits on sums and differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, GaussianConditioning, ProjectableConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._polytope import Polytope


class PolytopeSpec(ConstraintSpec):
    """A x <= b on the flattened sample."""

    convex: ClassVar[bool] = True

    kind: Literal["polytope"] = "polytope"
    matrix: str | list[list[float]]
    """A: rows of coefficients, or the name of a variable of the dataset."""
    limit: str | list[float]
    """b: one number per row, or the name of a variable of the dataset, per sample or for all samples."""

    def build(self, example: xr.Dataset) -> Polytope:
        import torch

        from plumbline.constraints._known import matrix_of, unit_of, variable_of
        from plumbline.constraints._polytope import Polytope

        matrix, unit = matrix_of(example, self.matrix, self.kind), unit_of(example)
        if not isinstance(self.limit, str):
            return Polytope(matrix, torch.as_tensor(self.limit, dtype=torch.float64), unit=unit)
        limit = variable_of(example, self.limit, f"`{self.kind}`: `limit`")
        if limit.dims[:1] != ("sample",):
            return Polytope(matrix, torch.as_tensor(limit.values), unit=unit)
        if limit.shape[1:] != (len(matrix),):
            raise ValueError(
                f"`{self.kind}`: `limit`: {self.limit!r} must hold {len(matrix)} numbers per sample, one per "
                f"row of the matrix, found the shape {limit.shape[1:]}."
            )
        return Polytope(matrix, None, limit_variable=self.limit, unit=unit)

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint, GaussianConditioning)

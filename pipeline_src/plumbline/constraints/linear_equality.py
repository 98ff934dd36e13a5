"""Linear equalities A x = k: element balances, budgets, totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, MatrixConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._linear_equality import LinearEquality


class LinearEqualitySpec(ConstraintSpec):
    """A x = k on the flattened sample."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["linear_equality"] = "linear_equality"
    matrix: str | list[list[float]]
    """A: rows of coefficients, or the name of a variable of the dataset."""
    target: str | list[float]
    """k: one number per row, or the name of a variable of the dataset, per sample or for all samples."""

    def build(self, example: xr.Dataset) -> LinearEquality:
        import torch

        from plumbline.constraints._known import as_stored, matrix_of, unit_of, variable_of
        from plumbline.constraints._linear_equality import LinearEquality

        matrix = matrix_of(example, self.matrix, self.kind)
        unit = unit_of(example)
        if not isinstance(self.target, str):
            return LinearEquality(matrix, torch.as_tensor(self.target, dtype=torch.float64), unit=unit)
        target = variable_of(example, self.target, f"`{self.kind}`: `target`")
        if target.dims[:1] != ("sample",):
            return LinearEquality(matrix, as_stored(target.values), unit=unit)
        if target.shape[1:] != (len(matrix),):
            raise ValueError(
                f"`{self.kind}`: `target`: {self.target!r} must hold {len(matrix)} numbers per sample, one "
                f"per row of the matrix, found the shape {target.shape[1:]}."
            )
        return LinearEquality(matrix, None, target_variable=self.target, unit=unit)

    def provides(self) -> tuple[type, ...]:
        return (MatrixConstraint,)

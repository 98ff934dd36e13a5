"""Linear equalities A x = k: element balances, budgets, totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from plumbline.constraints import ConstraintSpec
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints.linear.equality import LinearEquality


class LinearEqualitySpec(ConstraintSpec):
    """A x = k over the flattened coordinates of a sample."""

    kind: Literal["linear_equality"] = "linear_equality"
    matrix: str | list[list[float]]
    """A: rows of coefficients, or the name of the dataset's variable that holds it."""
    target: str | list[float]
    """k: one number a row, or the name of the dataset's variable that holds it, for all samples or one a sample."""

    def build(self, example: xr.Dataset) -> LinearEquality:
        import torch

        from plumbline.constraints.linear.equality import LinearEquality

        matrix = example[self.matrix].values if isinstance(self.matrix, str) else self.matrix
        per_sample = self.target if isinstance(self.target, str) else None
        unit = str(example["state"].attrs.get("units", "1"))
        matrix_tensor = torch.as_tensor(matrix, dtype=torch.float64)
        if per_sample and "sample" in example[per_sample].dims:
            return LinearEquality(matrix_tensor, None, target_variable=per_sample, unit=unit)
        target = example[per_sample].values if per_sample else self.target
        return LinearEquality(matrix_tensor, torch.as_tensor(target, dtype=torch.float64), unit=unit)

    def offers(self) -> tuple[str, ...]:
        return ("project", "condition", "matrix")


class SumSpec(ConstraintSpec):
    """The sum of a sample's coordinates, or of consecutive blocks of them, is given."""

    kind: Literal["sum"] = "sum"
    total: float | list[float]
    """The sum, or one a block, in the data's unit."""
    blocks: int = key(ge=1, default=1)
    """Number of equal, consecutive blocks of the flattened sample."""

    @model_validator(mode="after")
    def _one_total_a_block(self) -> SumSpec:
        if isinstance(self.total, list) and len(self.total) != self.blocks:
            raise ValueError(f"`total` has {len(self.total)} numbers for {self.blocks} blocks")
        return self

    def build(self, example: xr.Dataset) -> LinearEquality:
        import torch

        from plumbline.constraints.linear.equality import LinearEquality
        from plumbline.constraints.linear.maps import GroupSum

        coordinates = example["state"][0].size
        if coordinates % self.blocks:
            raise ValueError(f"{self.blocks} equal blocks do not fit {coordinates} coordinates.")
        groups = torch.arange(self.blocks).repeat_interleave(coordinates // self.blocks)
        totals = torch.as_tensor(self.total, dtype=torch.float64).expand(self.blocks)
        unit = str(example["state"].attrs.get("units", "1"))
        return LinearEquality(GroupSum(groups), totals, unit=unit)

    def offers(self) -> tuple[str, ...]:
        return ("project", "condition")

"""The sum of a sample's coordinates, or of blocks of them, such as totals and budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from plumbline.constraints import ConstraintSpec, LinearEqualityConstraint
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._linear_equality import LinearEquality


class SumSpec(ConstraintSpec):
    """The sum of all coordinates of a sample, or of each consecutive block of them, has a given value."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["sum"] = "sum"
    total: float | list[float]
    """The sum, or one sum per block, in the data's unit."""
    blocks: int = key(ge=1, default=1)
    """Number of equal, consecutive blocks of the flattened sample."""

    @model_validator(mode="after")
    def _one_total_a_block(self) -> SumSpec:
        if isinstance(self.total, list) and len(self.total) != self.blocks:
            raise ValueError(
                f"`total` has {len(self.total)} numbers for {self.blocks} blocks: give one per block"
            )
        return self

    def build(self, example: xr.Dataset) -> LinearEquality:
        import torch

        from plumbline.constraints._linear_equality import LinearEquality
        from plumbline.linalg.maps import GroupSum

        coordinates = example["state"][0].size
        if coordinates % self.blocks:
            raise ValueError(
                f"{self.blocks} equal blocks do not fit {coordinates} coordinates: use a divisor."
            )
        groups = torch.arange(self.blocks).repeat_interleave(coordinates // self.blocks)
        totals = torch.as_tensor(self.total, dtype=torch.float64).expand(self.blocks)
        unit = str(example["state"].attrs.get("units", "1"))
        return LinearEquality(GroupSum(groups), totals, unit=unit)

    def provides(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

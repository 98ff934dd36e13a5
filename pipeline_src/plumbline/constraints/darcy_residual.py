"""Darcy's equation: what each cell takes in and gives out, compared with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from plumbline.constraints import ConstraintSpec, ProjectableConstraint
from plumbline.coordinates import CoordinateError, equal_spacing, require_dimensions
from plumbline.spec import key

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._darcy_residual import DarcyResidual

FIELDS = ("permeability", "pressure")


class DarcyResidualSpec(ConstraintSpec):
    """Permeability and pressure (field, x, y) follow Darcy's equation, with the `source` of the dataset.

    Nothing flows through the boundary, and the mean pressure is zero.
    """

    smooth: ClassVar[bool] = True

    kind: Literal["darcy_residual"] = "darcy_residual"
    smallest: float = key("permeability", gt=0, default=5e-3)
    """Permeability below which a positive one takes its place in the equation; less than any of the data."""

    def build(self, example: xr.Dataset) -> DarcyResidual:
        import torch

        from plumbline.constraints._darcy_residual import DarcyResidual

        asker = f"`{self.kind}`"
        require_dimensions(example, ("field", "x", "y"), asker, exactly=True)
        found = [str(v) for v in example["field"].values] if "field" in example.coords else []
        if tuple(found) != FIELDS:
            raise CoordinateError(
                f"{asker} needs the labels {', '.join(FIELDS)} of the dimension 'field', in this order, "
                f"found {', '.join(found) or 'none'}: write them into the file, and reorder the fields if "
                "necessary."
            )
        if "source" not in example or example["source"].dims != ("x", "y"):
            raise CoordinateError(
                f"{asker} needs the variable `source` with the dimensions (x, y), the same for all samples: "
                "write the source of each cell into the file."
            )
        return DarcyResidual(
            torch.as_tensor(example["source"].values.astype("float64")),
            spacing=(equal_spacing(example, "x", asker), equal_spacing(example, "y", asker)),
            smallest=self.smallest,
        )

    def provides(self) -> tuple[type, ...]:
        return (ProjectableConstraint,)

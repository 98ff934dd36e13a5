"""Totals that are conserved or given: mass, momentum, energy, charge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from plumbline.constraints import ConstraintSpec, LinearEqualityConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._fields import Conserved


class ConservedSpec(ConstraintSpec):
    """A weighted total over some dimensions is constant along another one, or is given."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["conserved"] = "conserved"
    over: tuple[str, ...] = Field(min_length=1)
    """Dimensions that the total goes over. Each place along the others has its own total."""
    along: str | None = None
    """Dimension that the total is constant along, such as `time`; null where `total` is given."""
    total: float | str | None = None
    """What the total is: a number, or a variable of the dataset, with entries for each sample or for all;
    null where it is constant along a dimension.
    """
    weights: str | None = None
    """`cells` for the sizes of cells, which are products of the spacings of the coordinates in `over`; or a
    variable of the dataset over dimensions of a sample; null for ones.
    """

    @model_validator(mode="after")
    def _constant_or_given(self) -> ConservedSpec:
        if (self.along is None) == (self.total is None):
            raise ValueError(
                "give either `along`, the dimension that the total is constant along, or `total`"
            )
        return self

    def build(self, example: xr.Dataset) -> Conserved:
        import torch

        from plumbline.constraints._fields import Conserved
        from plumbline.constraints._known import axes_of, unit_of
        from plumbline.constraints._places import cell_sizes, entries_of_totals, weights_of

        over = axes_of(example, self.over, f"`{self.kind}`: `over`")
        along = None if self.along is None else axes_of(example, [self.along], f"`{self.kind}`: `along`")[0]
        weights, unit = None, unit_of(example)
        if self.weights == "cells":
            weights, unit = cell_sizes(example, self.over, f"`{self.kind}`: `weights`")
        elif self.weights is not None:
            weights, unit = weights_of(example, self.weights, f"`{self.kind}`: `weights`")
        shape = tuple(example["state"].shape[1:])
        given = None if weights is None else torch.as_tensor(weights)
        if not isinstance(self.total, str):
            return Conserved(shape, over=over, along=along, total=self.total, weights=given, unit=unit)
        of_sample, entries = entries_of_totals(example, self.total, self.over, f"`{self.kind}`: `total`")
        source = torch.as_tensor(entries)
        if of_sample:
            return Conserved(shape, over=over, total=self.total, weights=given, source=source, unit=unit)
        totals = torch.as_tensor(example[self.total].values.reshape(-1)[entries])
        return Conserved(shape, over=over, total=totals, weights=given, unit=unit)

    def provides(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

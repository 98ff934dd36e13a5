"""Totals that are conserved or given: mass, momentum, energy, charge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from plumbline.constraints import ConstraintSpec, LinearEqualityConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._fields import Conserved


class ConservedSpec(ConstraintSpec):
    """A weighted total over some dimensions is constant along another dimension, or has a given value."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["conserved"] = "conserved"
    over: tuple[str, ...] = Field(min_length=1)
    """Dimensions that are summed. There is one total for each place along the other dimensions."""
    along: str | None = None
    """Dimension along which the total is constant, such as `time`; null if `total` is given."""
    total: float | str | None = None
    """Value of the total: a number, or a variable of the dataset, per sample or for all samples; null if
    `along` is given.
    """
    weights: str | None = None
    """Weights of the sum: `cells` for cell sizes, which are products of the coordinate spacings in `over`; a
    variable of the dataset over dimensions of a sample; or null for ones.
    """

    @model_validator(mode="after")
    def _constant_or_given(self) -> ConservedSpec:
        if (self.along is None) == (self.total is None):
            raise ValueError(
                "give either `along`, the dimension along which the total is constant, or `total`, its value"
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

"""Fixed values at places given by coordinates: initial states, boundary values, measured points."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from plumbline.constraints import ConstraintSpec, LinearEqualityConstraint

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.constraints._fields import Fixed


class FixedSpec(ConstraintSpec):
    """The values of a sample at some places are given."""

    convex: ClassVar[bool] = True
    smooth: ClassVar[bool] = True

    kind: Literal["fixed"] = "fixed"
    where: dict[str, float | str | list[float | str]] = Field(min_length=1)
    """Places by dimension, such as `{time: 0}`: values or labels of the coordinate, or indices from 0 if the
    dimension has no coordinate. A dimension that is not named is fixed along its whole length.
    """
    value: float | str
    """The value, in the data's unit: a number, or a variable of the dataset over dimensions of the places,
    per sample or for all samples.
    """

    def build(self, example: xr.Dataset) -> Fixed:
        import torch

        from plumbline.constraints._fields import Fixed
        from plumbline.constraints._known import unit_of
        from plumbline.constraints._places import entries_at, places_of

        places = places_of(example, self.where, f"`{self.kind}`: `where`")
        unit = unit_of(example)
        if not isinstance(self.value, str):
            return Fixed(torch.as_tensor(places), self.value, unit=unit)
        of_sample, entries = entries_at(example, self.value, places, f"`{self.kind}`: `value`")
        if of_sample:
            return Fixed(torch.as_tensor(places), self.value, source=torch.as_tensor(entries), unit=unit)
        values = example[self.value].values.reshape(-1)[entries]
        return Fixed(torch.as_tensor(places), torch.as_tensor(values), unit=unit)

    def provides(self) -> tuple[type, ...]:
        return (LinearEqualityConstraint,)

"""The negative of an attribute, for an attribute that should be small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline.attributes import AnyAttribute, Attribute, AttributeSpec

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn


class MinusSpec(AttributeSpec):
    """The negative of another attribute."""

    kind: Literal["minus"] = "minus"
    of: AnyAttribute
    """The attribute."""

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        return _Minus(self.of.build(example, models))

    def depends_on(self) -> dict[str, type]:
        return self.of.depends_on()


class _Minus(Attribute):
    def __init__(self, attribute: Attribute) -> None:
        self.attribute = attribute

    def value(self, x: Tensor) -> Tensor:
        return -self.attribute.value(x)

"""Attributes of vectors: a linear form and a negative squared distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from plumbline.attributes import Attribute, AttributeSpec

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn


class LinearSpec(AttributeSpec):
    """The linear form a . x."""

    kind: Literal["linear"] = "linear"
    weights: tuple[float, ...]
    """a, one weight per entry of a sample."""

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        _require(len(self.weights), "weights", example)
        return _Linear(self.weights)


class NearnessSpec(AttributeSpec):
    """The negative squared distance -|x - c|^2 to a point c."""

    kind: Literal["nearness"] = "nearness"
    centre: tuple[float, ...]
    """c, one coordinate per entry of a sample."""

    def build(self, example: xr.Dataset, models: Mapping[str, nn.Module]) -> Attribute:
        _require(len(self.centre), "centre", example)
        return _Nearness(self.centre)


class _Linear(Attribute):
    def __init__(self, weights: tuple[float, ...]) -> None:
        self.weights = weights

    def value(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ x.new_tensor(self.weights)


class _Nearness(Attribute):
    def __init__(self, centre: tuple[float, ...]) -> None:
        self.centre = centre

    def value(self, x: Tensor) -> Tensor:
        return -(x.flatten(1) - x.new_tensor(self.centre)).square().sum(1)


def _require(given: int, key: str, example: xr.Dataset) -> None:
    dim = example["state"][0].size
    if given != dim:
        raise ValueError(f"`{key}` has {given} entries, and samples have {dim}.")

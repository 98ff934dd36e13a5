"""Attributes of vectors: a linear and a quadratic form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from plumbline.attributes import Attribute, AttributeSpec

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


class LinearSpec(AttributeSpec):
    """a . x."""

    kind: Literal["linear"] = "linear"
    weights: tuple[float, ...]
    """a, a number for each number of a sample."""

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
        _require(len(self.weights), "weights", example)
        return _Linear(self.weights)


class NearnessSpec(AttributeSpec):
    """-|x - c|^2."""

    kind: Literal["nearness"] = "nearness"
    centre: tuple[float, ...]
    """c, a number for each number of a sample."""

    def build(self, example: xr.Dataset, models: Mapping[str, Any]) -> Attribute:
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
        raise ValueError(f"`{key}` has {given} numbers, and samples have {dim}.")

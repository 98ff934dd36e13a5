"""Moves the tensors of a constraint to a device, wherever they are within it."""

from __future__ import annotations

import copy
from dataclasses import is_dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

T = TypeVar("T")


def with_attributes_on(value: T, device: torch.device, movable: type) -> T:
    """An object with the tensors of its attributes on the device; itself if they are there.

    Tensors are found in attributes, and there in tuples, lists, dictionaries, dataclasses (such as linear
    maps), and objects of the class `movable`, which move themselves by `to(device)`. An `nn.Module` is moved
    in place.
    """
    return _Move(device, movable).attributes_of(value)


class _Move:
    """One move. Tensors that are shared stay shared."""

    def __init__(self, device: torch.device, movable: type) -> None:
        self.device, self.movable = device, movable
        self.known: dict[int, object] = {}

    def attributes_of(self, value: T) -> T:
        attributes = vars(value)
        found = {name: self.of(one) for name, one in attributes.items()}
        if all(found[name] is one for name, one in attributes.items()):
            return value
        moved = copy.copy(value)
        for name, one in found.items():
            object.__setattr__(moved, name, one)
        return moved

    def of(self, value: object) -> object:
        if id(value) not in self.known:
            self.known[id(value)] = self._moved(value)
        return self.known[id(value)]

    def _moved(self, value: object) -> object:
        if isinstance(value, torch.device):
            return self.device
        if isinstance(value, (Tensor, nn.Module, self.movable)):
            return cast("Tensor", value).to(self.device)
        if isinstance(value, dict):
            found = {key: self.of(one) for key, one in value.items()}
            return value if all(found[key] is one for key, one in value.items()) else found
        if type(value) in (tuple, list):
            items = cast("list[object]", value)
            moved = [self.of(one) for one in items]
            same = all(new is old for new, old in zip(moved, items, strict=True))
            return value if same else tuple(moved) if isinstance(value, tuple) else moved
        if is_dataclass(value) and not isinstance(value, type):
            return self.attributes_of(value)
        return value

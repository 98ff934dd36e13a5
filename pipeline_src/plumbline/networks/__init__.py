"""Networks: `nn.Module`s only, without losses, data or files.

A backbone maps (x, time, condition) to a tensor like x: samples of shape (B, ...), one noise level a sample
or for all, and an optional vector a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from plumbline.spec import ByKind, Kind

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SampleShape:
    """What a backbone must know of the samples.

    Attributes:
        shape: the shape of a sample. Of three or more dimensions, the last two are the grid, and those
            before it channels.
        periodic: whether each of the last two dimensions is periodic.
        condition: numbers in the condition, zero if there is none.
        outputs: tensors of this shape that the backbone gives; of several, the first axis after the batch
            counts them.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    condition: int = 0
    outputs: int = 1

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what the backbone gives for a sample."""
        return self.shape if self.outputs == 1 else (self.outputs, *self.shape)


class NetworkSpec(Kind):
    """Base of the network kinds."""

    def build(self, sample: SampleShape) -> nn.Module:
        """A backbone for samples of this shape."""
        raise NotImplementedError


AnyNetwork = Annotated[NetworkSpec, ByKind()]


class RegressorSpec(Kind):
    """Base of the networks that turn a vector of numbers into features, for heads to read."""

    def build(self, inputs: int) -> nn.Module:
        """A network from (B, inputs) to (B, features)."""
        raise NotImplementedError

    def features(self) -> int:
        """How many features it gives."""
        raise NotImplementedError


AnyRegressor = Annotated[RegressorSpec, ByKind()]


class GraphNetworkSpec(Kind):
    """Base of the networks that turn a graph of atoms into features of each atom."""

    def build(self, elements: int) -> nn.Module:
        """A network from (species, bonds, lengths) to (N, features)."""
        raise NotImplementedError

    def features(self) -> int:
        """How many features it gives an atom."""
        raise NotImplementedError


AnyGraphNetwork = Annotated[GraphNetworkSpec, ByKind()]

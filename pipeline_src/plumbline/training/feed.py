"""Feeds: where the batches of a training come from, and in which order.

The order of the samples is a function of (seed, epoch) alone. It does not depend on the number of processes:
the processes of a training share each batch, and process r of w takes the samples r, r + w, r + 2 w, ... of
it. A training that resumes at a step therefore sees the batches that it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from plumbline.training import TrainingSpec

Batch = dict[str, Tensor]
"""Tensors (B, ...) by name; one is named `state`."""


@dataclass(frozen=True)
class Place:
    """One process of a training.

    Attributes:
        device: its device.
        rank: its number among the processes, from 0.
        world: the number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1


class Feed(Protocol):
    """The samples of a training, in batches on the device of a process."""

    @property
    def samples(self) -> int:
        """The number of samples."""
        ...

    def batches(self, spec: TrainingSpec, seed: int, start: int, place: Place) -> Iterator[tuple[int, Batch]]:
        """Yields the steps from `start` up to `spec.steps`, each with this process's part of its batch.

        Each epoch passes through all samples once, in a new order. Samples that do not fill a batch at its
        end are left out of that epoch.
        """
        ...

    def in_order(self, size: int, place: Place) -> Iterator[Batch]:
        """Yields all samples in their order, `size` at a time, whole in every process."""
        ...


class InMemory:
    """Samples that the device holds as a whole, so that no step copies any.

    Args:
        data: tensors (N, ...) of equal length, by name; one is named `state`.
    """

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        self.data = dict(data)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.data["state"])

    def batches(self, spec: TrainingSpec, seed: int, start: int, place: Place) -> Iterator[tuple[int, Batch]]:
        """Yields the steps from `start` on with their batches; see `Feed`."""
        data = self._on(place)
        for step, indices in batch_indices(self.samples, spec, seed, start, place.device):
            own = indices[place.rank :: place.world]
            yield step, {name: tensor[own] for name, tensor in data.items()}

    def in_order(self, size: int, place: Place) -> Iterator[Batch]:
        """Yields all samples in their order; see `Feed`."""
        data = self._on(place)
        for first in range(0, self.samples, size):
            yield {name: tensor[first : first + size] for name, tensor in data.items()}

    def _on(self, place: Place) -> Batch:
        return {name: tensor.to(place.device) for name, tensor in self.data.items()}


def batch_indices(
    samples: int,
    spec: TrainingSpec,
    seed: int,
    start: int,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, Tensor]]:
    """Yields the steps from `start` on, with the indices of their batches on a device.

    Each epoch passes through one permutation of the samples, which is drawn on the CPU and copied once.
    """
    size = min(spec.batch, samples)
    per_epoch = samples // size
    permutation, epoch = torch.empty(0), -1
    for step in range(start, spec.steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            generator = torch.Generator().manual_seed(mixed_seed(seed, epoch, -1))
            permutation = torch.randperm(samples, generator=generator).to(device)
        position = step % per_epoch * size
        yield step, permutation[position : position + size]


def mixed_seed(seed: int, step: int, rank: int) -> int:
    """A seed from three integers, mixed by the finaliser of splitmix64 (https://doi.org/10.1145/2660193.2660195)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + (rank + 2) * 0x94D049BB133111EB) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) % 2**64
    return (mixed ^ (mixed >> 31)) % 2**63

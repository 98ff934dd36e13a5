"""Preparation of models from blocks of their training data, which may not fit into memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

SampleBlock = Mapping[str, Tensor]
"""Tensors (n, ...) by name: some of the training samples. A tensor may be read when it is looked up."""


class PreparedInBlocks:
    """Base of the models that can be prepared from blocks, such as those that only fit standardisations."""

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits standardisation, moments and the like to the training data, tensors (N, ...) by name."""
        self.prepare_in_blocks([data])

    def prepare_in_blocks(self, blocks: Iterable[SampleBlock]) -> None:
        """Does the same from blocks; by default, there is nothing to fit.

        Args:
            blocks: the training data in its order, which can be passed through several times.
        """


def variable(blocks: Iterable[SampleBlock], name: str) -> dict[str, Tensor]:
    """One variable of all samples by its name, such as labels, which are small; empty if it is missing."""
    found = [block[name] for block in blocks if name in block]
    return {name: torch.cat(found)} if found else {}


def samples_at(blocks: Iterable[SampleBlock], indices: Tensor) -> dict[str, Tensor]:
    """The samples at these indices (R,) of the training data, in their order; an index may occur twice."""
    order = indices.argsort()
    wanted = indices[order]
    taken: list[dict[str, Tensor]] = []
    first = 0
    for block in blocks:
        count = len(block["state"])
        start, stop = torch.searchsorted(wanted, torch.tensor([first, first + count])).tolist()
        if start < stop:
            taken.append({name: block[name][wanted[start:stop] - first] for name in block})
        first += count
    back = order.argsort()
    return {name: torch.cat([few[name] for few in taken])[back] for name in taken[0]}


def first_samples(blocks: Iterable[SampleBlock], count: int) -> dict[str, Tensor]:
    """The first `count` samples, or all if there are fewer."""
    taken: list[dict[str, Tensor]] = []
    missing = count
    for block in blocks:
        taken.append({name: block[name][:missing] for name in block})
        missing -= len(taken[-1]["state"])
        if missing <= 0:
            break
    return {name: torch.cat([few[name] for few in taken]) for name in taken[0]}

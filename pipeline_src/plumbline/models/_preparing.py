"""Preparation of models from parts of their training data, which may not fit into memory as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

Part = Mapping[str, Tensor]
"""Tensors (n, ...) by name: some of the training samples. A tensor may be read when it is looked up."""


class PreparedInParts:
    """Base of the models that can be prepared from parts, such as those that only fit standardisations."""

    def prepare(self, data: dict[str, Tensor]) -> None:
        """Fits standardisation, moments and the like to the training data, tensors (N, ...) by name."""
        self.prepare_in_parts([data])

    def prepare_in_parts(self, parts: Iterable[Part]) -> None:
        """Does the same from parts; by default, there is nothing to fit.

        Args:
            parts: the training data in its order, which can be passed through several times.
        """


def variable(parts: Iterable[Part], name: str) -> dict[str, Tensor]:
    """One variable of all samples by its name, such as labels, which are small; empty if it is missing."""
    found = [part[name] for part in parts if name in part]
    return {name: torch.cat(found)} if found else {}


def first_samples(parts: Iterable[Part], count: int) -> dict[str, Tensor]:
    """The first `count` samples, or all if there are fewer."""
    taken: list[dict[str, Tensor]] = []
    missing = count
    for part in parts:
        taken.append({name: part[name][:missing] for name in part})
        missing -= len(taken[-1]["state"])
        if missing <= 0:
            break
    return {name: torch.cat([few[name] for few in taken]) for name in taken[0]}

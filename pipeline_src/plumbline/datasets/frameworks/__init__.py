"""Frameworks of atoms: graphs of unequal size as arrays along `sample`, padded at the end.

| variable | shape | what |
|---|---|---|
| state | (sample, atom) | partial charge, zero where there is no atom |
| present | (sample, atom) | whether there is an atom |
| species | (sample, atom) | index of the element, -1 where there is no atom |
| bonds | (sample, bond, end) | numbers of the bonded atoms within the framework, each bond once, -1 where there is none |
| bond_length | (sample, bond) | length, zero where there is no bond |

Absent atoms have charge zero, so that the charge of a framework is the sum over all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Framework:
    """One framework of n atoms and e bonds."""

    charges: np.ndarray
    species: np.ndarray
    bonds: np.ndarray
    lengths: np.ndarray


def padded(frameworks: Sequence[Framework], atoms: int, bonds: int, elements: Sequence[str]) -> xr.Dataset:
    """Frameworks as a dataset with room for `atoms` atoms and `bonds` bonds each."""
    import xarray as xr

    number = np.int16 if atoms <= np.iinfo(np.int16).max else np.int32

    count = len(frameworks)
    charges = np.zeros((count, atoms), np.float32)
    species = np.full((count, atoms), -1, np.int16)
    ends = np.full((count, bonds, 2), -1, number)
    lengths = np.zeros((count, bonds), np.float32)
    for i, framework in enumerate(frameworks):
        n, e = len(framework.charges), len(framework.bonds)
        charges[i, :n], species[i, :n] = framework.charges, framework.species
        ends[i, :e], lengths[i, :e] = framework.bonds, framework.lengths
    return xr.Dataset(
        {
            "state": (("sample", "atom"), charges, {"long_name": "partial charge", "units": "e"}),
            "present": (("sample", "atom"), species >= 0, {"long_name": "whether there is an atom"}),
            "species": (("sample", "atom"), species, {"long_name": "index of the element"}),
            "bonds": (("sample", "bond", "end"), ends, {"long_name": "bonded atoms"}),
            "bond_length": (("sample", "bond"), lengths, {"long_name": "bond length", "units": "angstrom"}),
        },
        coords={"element": ("element", list(elements), {"long_name": "element"})},
    )


VARIABLES = ("species", "bonds", "bond_length")


def elements_of(dataset: xr.Dataset) -> int:
    """How many elements the frameworks of a dataset are made of.

    Raises:
        ValueError: the dataset holds no frameworks.
    """
    absent = [name for name in VARIABLES if name not in dataset]
    if absent or "element" not in dataset.coords or dataset["state"].ndim != 2:
        raise ValueError(
            f"the dataset holds no frameworks: expected a state (sample, atom), {', '.join(VARIABLES)} and the coordinate "
            f"`element`, found {', '.join(map(str, dataset.variables))}."
        )
    return dataset.sizes["element"]

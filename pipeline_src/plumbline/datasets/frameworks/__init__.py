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

from plumbline.datasets.files import DataFileError

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


def check_padded(dataset: xr.Dataset, source: str) -> None:
    """Refuses frameworks that a network would read as others, or not at all.

    Args:
        dataset: padded frameworks, as in the table above.
        source: what they were read from, which errors begin with.

    Raises:
        DataFileError: the dataset lacks a variable, or a framework has no atoms, an atom behind a place without one, an element that
            is none, a bond with an end that is no atom of it or with one atom at both ends, or a bond twice. The sample is named.
    """
    elements = elements_of(dataset)
    species, bonds = (dataset[name].values.astype(np.int64) for name in ("species", "bonds"))
    present = species >= 0
    atoms = present.sum(1)

    def refuse(strange: np.ndarray, what: str) -> None:
        if (rows := np.flatnonzero(strange.reshape(len(strange), -1).any(1))).size:
            row = dataset["sample"].values[rows[0]] if "sample" in dataset.coords else rows[0]
            raise DataFileError(f"{source}: the framework of sample {row} {what}.")

    refuse(atoms == 0, "has no atoms")
    refuse(present[:, 1:] & ~present[:, :-1], "has an atom without an element before others")
    if "present" in dataset:
        refuse(dataset["present"].values.astype(bool) != present, "has an atom without an element")
    refuse(species >= elements, f"has an element over {elements - 1}")
    bonded = (bonds >= 0).any(-1)
    outside = ((bonds < 0) | (bonds >= atoms[:, None, None])).any(-1)
    refuse(bonded & outside, "has a bond with an end that is no atom of it")
    refuse(bonded & (bonds[..., 0] == bonds[..., 1]), "has a bond that joins an atom to itself")
    owner = np.broadcast_to(np.arange(len(bonds))[:, None], bonded.shape)[bonded]
    twice = np.zeros(bonded.shape, dtype=bool)
    twice[bonded] = repeated(owner, bonds[bonded].T)
    refuse(twice, "has a bond twice: list each once, and in one direction")


def repeated(owner: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether each bond (2, E) of a framework was listed before it, in either direction."""
    low, high = ends.min(0), ends.max(0)
    order = np.lexsort((high, low, owner))  # stable: of equal bonds the first comes first
    ordered = np.stack([owner, low, high])[:, order]
    found = np.zeros(ends.shape[1], dtype=bool)
    found[order[1:]] = (ordered[:, 1:] == ordered[:, :-1]).all(0)
    return found

"""Frameworks of atoms: graphs of different sizes as padded arrays and as packed HDF5 files.

A dataset contains frameworks as arrays along `sample`, padded at the end:

| variable | shape | meaning |
|---|---|---|
| state | (sample, atom) | partial charge in e, zero for padding |
| present | (sample, atom) | whether there is an atom |
| species | (sample, atom) | index of the element, -1 for padding |
| bonds | (sample, bond, end) | indices of the bonded atoms in the framework, each bond once, -1 for padding |
| bond_length | (sample, bond) | length in angstrom, zero for padding |

Padding has charge zero, so the charge of a framework is the sum over all entries.

A packed HDF5 file contains all frameworks one after another, and is checked when it is read:

| array | shape | meaning |
|---|---|---|
| node_species, node_charge | (atoms) | index of the element, partial charge |
| node_pointer | (frameworks + 1) | first atom of each framework, then the number of all atoms |
| edge_index | (2, bonds) | indices of the bonded atoms in the framework, each bond once, in one direction |
| edge_length | (bonds) | length |
| edge_pointer | (frameworks + 1) | first bond of each framework, then the number of all bonds |
| name | (frameworks) | name |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plumbline.datasets._download import DataFileError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Framework:
    """One framework of n atoms and e bonds.

    Attributes:
        charges: partial charges in e (n,).
        species: index of the element of each atom (n,).
        bonds: indices of the bonded atoms (e, 2).
        lengths: bond lengths in angstrom (e,).
    """

    charges: np.ndarray
    species: np.ndarray
    bonds: np.ndarray
    lengths: np.ndarray


def padded(frameworks: Sequence[Framework], atoms: int, bonds: int, elements: Sequence[str]) -> xr.Dataset:
    """The dataset of these frameworks, padded to `atoms` atoms and `bonds` bonds each.

    Args:
        frameworks: the frameworks.
        atoms: padded number of atoms.
        bonds: padded number of bonds.
        elements: symbols of the elements, in the order of their indices.
    """
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
    """The number of elements in a dataset of frameworks.

    Raises:
        ValueError: the dataset does not contain frameworks.
    """
    absent = [name for name in VARIABLES if name not in dataset]
    if absent or "element" not in dataset.coords or dataset["state"].ndim != 2:
        raise ValueError(
            f"the dataset contains no frameworks: expected a state (sample, atom), {', '.join(VARIABLES)} "
            f"and the coordinate `element`, found {', '.join(map(str, dataset.variables))}."
        )
    return dataset.sizes["element"]


def check_padded(dataset: xr.Dataset, source: str) -> None:
    """Checks that a graph network can process padded frameworks.

    Args:
        dataset: padded frameworks, as described at the top of this module.
        source: name of the source of the samples; the error message begins with it.

    Raises:
        DataFileError: a framework has no atoms, padding before an atom, an unknown element, or a bond that is
            listed twice, joins an atom to itself or has an end that is not an atom of the framework. The
            message names the sample.
        ValueError: a variable is missing.
    """
    elements = elements_of(dataset)
    species, bonds = (dataset[name].values.astype(np.int64) for name in ("species", "bonds"))
    present = species >= 0
    atoms = present.sum(1)

    def refuse(strange: np.ndarray, fault: str) -> None:
        if (rows := np.flatnonzero(strange.reshape(len(strange), -1).any(1))).size:
            row = dataset["sample"].values[rows[0]] if "sample" in dataset.coords else rows[0]
            raise DataFileError(f"{source}: the framework of sample {row} {fault}.")

    refuse(atoms == 0, "has no atoms")
    refuse(present[:, 1:] & ~present[:, :-1], "has an atom without an element before others")
    if "present" in dataset:
        refuse(dataset["present"].values.astype(bool) != present, "has an atom without an element")
    refuse(species >= elements, f"has an element with an index above {elements - 1}")
    bonded = (bonds >= 0).any(-1)
    outside = ((bonds < 0) | (bonds >= atoms[:, None, None])).any(-1)
    refuse(bonded & outside, "has a bond with an end that is not one of its atoms")
    refuse(bonded & (bonds[..., 0] == bonds[..., 1]), "has a bond that joins an atom to itself")
    owner = np.broadcast_to(np.arange(len(bonds))[:, None], bonded.shape)[bonded]
    twice = np.zeros(bonded.shape, dtype=bool)
    twice[bonded] = repeated(owner, bonds[bonded].T)
    refuse(twice, "has a bond twice: list each bond once, in one direction")


def repeated(owner: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether each bond (E,) is listed before, in either direction, in the same framework.

    Args:
        owner: framework of each bond (E,).
        ends: indices of the bonded atoms (2, E).
    """
    low, high = ends.min(0), ends.max(0)
    order = np.lexsort((high, low, owner))  # stable: among equal bonds the order is kept
    ordered = np.stack([owner, low, high])[:, order]
    found = np.zeros(ends.shape[1], dtype=bool)
    found[order[1:]] = (ordered[:, 1:] == ordered[:, :-1]).all(0)
    return found


WHOLE = ("node_species", "node_pointer", "edge_index", "edge_pointer")
COLUMNS = (*WHOLE, "node_charge", "edge_length", "name")


@dataclass(frozen=True)
class PackedFrameworks:
    """All frameworks as packed arrays, which are described at the top of this module."""

    node_species: np.ndarray
    node_charge: np.ndarray
    node_pointer: np.ndarray
    edge_index: np.ndarray
    edge_length: np.ndarray
    edge_pointer: np.ndarray
    name: np.ndarray

    @property
    def count(self) -> int:
        """Number of frameworks."""
        return len(self.name)

    def owner_of_atoms(self) -> np.ndarray:
        """The framework index of each atom (atoms,)."""
        return np.repeat(np.arange(self.count), np.diff(self.node_pointer))

    def owner_of_bonds(self) -> np.ndarray:
        """The framework index of each bond (bonds,)."""
        return np.repeat(np.arange(self.count), np.diff(self.edge_pointer))

    def framework(self, i: int) -> Framework:
        """The framework with index i."""
        atoms, bonds = slice(*self.node_pointer[i : i + 2]), slice(*self.edge_pointer[i : i + 2])
        return Framework(
            self.node_charge[atoms],
            self.node_species[atoms],
            self.edge_index[:, bonds].T,
            self.edge_length[bonds],
        )


def read_packed(path: Path, elements: int) -> PackedFrameworks:
    """Reads and checks the frameworks of a packed HDF5 file.

    Args:
        path: path of the file.
        elements: number of elements.

    Raises:
        DataFileError: the file does not have the expected arrays, or a framework has no atoms, an unknown
            element, a value that is not finite, a length that is not positive, or a bond that is listed
            twice, joins an atom to itself or has an end that is not an atom of the framework. The message
            names the framework.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if absent := [name for name in COLUMNS if name not in file]:
                raise DataFileError(
                    f"{path} has no array {', '.join(absent)}; it has {', '.join(sorted(file)) or 'none'}."
                )
            columns = {name: np.asarray(file[name][()]) for name in COLUMNS}
    except DataFileError:
        raise
    # A damaged file can make h5py raise errors of many types.
    except Exception as error:
        raise DataFileError(
            f"{path} is not a readable HDF5 file ({error}): copy it again, or set `dataset.data_dir`."
        ) from error
    for name in WHOLE:
        if columns[name].dtype.kind not in "iu":
            raise DataFileError(f"{path}: `{name}` should hold integers, but holds {columns[name].dtype}.")
        columns[name] = columns[name].astype(np.int64)
    columns["name"] = np.array([n.decode() if isinstance(n, bytes) else str(n) for n in columns["name"]])
    _check_pointers(columns, path)
    packed = PackedFrameworks(**columns)
    _check_atoms(packed, elements, path)
    _check_bonds(packed, path)
    return packed


def _check_pointers(columns: dict[str, Any], path: Path) -> None:
    sizes = {"node": len(columns["node_species"]), "edge": len(columns["edge_length"])}
    if columns["edge_index"].shape != (2, sizes["edge"]) or len(columns["node_charge"]) != sizes["node"]:
        shapes = ", ".join(f"`{name}` {columns[name].shape}" for name in COLUMNS)
        raise DataFileError(
            f"{path}: the shapes of the arrays do not match: {shapes}; expected `edge_index` of shape (2, "
            "bonds)."
        )
    for kind, size in sizes.items():
        pointer, expected = columns[f"{kind}_pointer"], len(columns["name"]) + 1
        if pointer.shape != (expected,) or pointer[0] != 0 or pointer[-1] != size:
            raise DataFileError(
                f"{path}: `{kind}_pointer` should hold {expected} numbers from 0 to {size}, but holds "
                f"{pointer.size} from {pointer.flat[0] if pointer.size else 'none'} to "
                f"{pointer.flat[-1] if pointer.size else 'none'}."
            )
        if (back := np.flatnonzero(np.diff(pointer) < 0)).size:
            raise DataFileError(
                f"{path}: framework {str(columns['name'][back[0]])!r} ends before it begins in "
                f"`{kind}_pointer`."
            )


def _check_atoms(packed: PackedFrameworks, elements: int, path: Path) -> None:
    sizes, owner = np.diff(packed.node_pointer), packed.owner_of_atoms()
    if (empty := np.flatnonzero(sizes == 0)).size:
        raise _of(packed, empty[0], path, "has no atoms")
    species = packed.node_species
    if (strange := np.flatnonzero((species < 0) | (species >= elements))).size:
        i, atom = owner[strange[0]], strange[0]
        fault = (
            f"has the element {species[atom]} (atom {atom - packed.node_pointer[i]}), expected 0 to "
            f"{elements - 1}"
        )
        raise _of(packed, i, path, fault)
    if (strange := np.flatnonzero(~np.isfinite(packed.node_charge))).size:
        i, atom = owner[strange[0]], strange[0]
        fault = f"has the charge {packed.node_charge[atom]} (atom {atom - packed.node_pointer[i]})"
        raise _of(packed, i, path, fault)


def _check_bonds(packed: PackedFrameworks, path: Path) -> None:
    owner, ends = packed.owner_of_bonds(), packed.edge_index
    sizes = np.diff(packed.node_pointer)[owner]

    def refuse(strange: np.ndarray, fault: str) -> None:
        if (bonds := np.flatnonzero(strange)).size:
            i, bond = owner[bonds[0]], bonds[0]
            shown = (
                f"bond {bond - packed.edge_pointer[i]}, between atoms {ends[0, bond]} and {ends[1, bond]},"
            )
            raise _of(packed, i, path, f"{shown} {fault.format(sizes[bond], packed.edge_length[bond])}", ":")

    outside = ((ends < 0) | (ends >= sizes)).any(0)
    refuse(outside, "has an end that is not an atom: there are {} atoms, numbered from 0")
    refuse(ends[0] == ends[1], "joins an atom to itself")
    refuse(
        repeated(owner, ends),
        "is listed before: list each bond once, in one direction",
    )
    refuse(~(packed.edge_length > 0) | ~np.isfinite(packed.edge_length), "has the length {1}")


def _of(packed: PackedFrameworks, i: int, path: Path, fault: str, after: str = "") -> DataFileError:
    return DataFileError(f"{path}: framework {str(packed.name[i])!r}{after} {fault}.")

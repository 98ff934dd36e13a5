"""Partial charges (DDEC) of metal-organic frameworks, as published by Raza, Sturluson, Simon and Fern (2020).

2,266 frameworks of 10 to 584 atoms of 74 elements, 334,103 atoms in all; the charges of a framework sum to zero
within 3.2e-5. The file `mof_charges.h5` packs them, as `frameworks/packed.py` says. Without it, it is packed from a checkout of the
source, `mpn_charges/MPNN/input` in the data folder.

The order of the frameworks is random, by the seed, and drawn again until the train split holds every element.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.datasets.files import DataFileError

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets.frameworks.packed import PackedFrameworks

# Elements by their index in the published one-hot features.
ELEMENTS = (
    "C", "H", "O", "N", "Zn", "Cu", "Cd", "Co", "S", "P", "Mn", "Ni", "Nd", "La", "Cl", "F", "Ag",
    "Gd", "Er", "Dy", "Ce", "Fe", "Sm", "Pr", "Ca", "Na", "Mg", "Ba", "Mo", "U", "Y", "Ho", "Yb",
    "Sr", "Br", "K", "I", "In", "Al", "Li", "Tm", "V", "Si", "Cr", "W", "Ga", "B", "Ru", "Nb", "Lu",
    "Hg", "Pt", "Pb", "Re", "Th", "Rb", "Te", "Ti", "Au", "Sc", "Bi", "Sn", "Np", "Be", "Sb", "Rh",
    "As", "Cs", "Ge", "Pd", "Pu", "Se", "Hf", "Ir",
)  # fmt: skip
SOURCE = "https://github.com/SimonEnsemble/mpn_charges"


class MOFChargesSpec(DatasetSpec):
    """Charges of metal-organic frameworks, from `mof_charges.h5` or a checkout of its source."""

    kind: Literal["mof_charges"] = "mof_charges"
    data_dir: str = "data"
    """Folder with `mof_charges.h5`, or with a checkout of its source under `mpn_charges`."""

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets.frameworks import padded
        from plumbline.datasets.frameworks.packed import read_packed

        del splits
        packed = read_packed(self.packed(), len(ELEMENTS))
        if self.splits.total > packed.count:
            raise ValueError(
                f"there are {packed.count} frameworks, and `splits` ask for {self.splits.total}: lower them."
            )
        chosen = self._order(packed)[indices]
        atoms, bonds = np.diff(packed.node_pointer).max(), np.diff(packed.edge_pointer).max()
        dataset = padded([packed.framework(i) for i in chosen], int(atoms), int(bonds), ELEMENTS)
        return dataset.assign_attrs(title="DDEC charges of metal-organic frameworks", source=SOURCE)

    def packed(self) -> Path:
        """Path of the packed file, made from a checkout if only that is there.

        Raises:
            DataFileError: neither is there.
        """
        path = Path(self.data_dir) / "mof_charges.h5"
        checkout = Path(self.data_dir) / "mpn_charges" / "MPNN" / "input"
        if path.is_file():
            return path
        if not checkout.is_dir():
            raise DataFileError(
                f"neither {path} nor {checkout} is there: put the packed file there, or clone {SOURCE} into "
                f"{self.data_dir}, or set `dataset.data_dir`."
            )
        pack(checkout, path)
        return path

    def _order(self, packed: PackedFrameworks) -> np.ndarray:
        """A permutation whose train split holds every element."""
        owner = packed.owner_of_atoms()
        everything = len(np.unique(packed.node_species))
        random = np.random.default_rng(self.seed)
        for _ in range(10_000):
            order = random.permutation(packed.count)
            train = np.isin(owner, order[: self.splits.train])
            if self.splits.train < everything or len(np.unique(packed.node_species[train])) == everything:
                return order
        raise ValueError(
            f"no train split of {self.splits.train} frameworks with every element was found: enlarge it."
        )


def pack(checkout: Path, output: Path) -> None:
    """Packs the per-framework files of the source (features, labels, edges) into one HDF5 file.

    Raises:
        DataFileError: a file is not as those of the source.
    """
    import os

    import h5py
    import pandas as pd

    names = sorted(
        path.name.removesuffix("_node_features.npy") for path in checkout.glob("*_node_features.npy")
    )
    if not names:
        raise DataFileError(f"{checkout} holds no frameworks (files `*_node_features.npy`).")
    species, charges, edges, lengths = [], [], [], []
    for name in names:
        features, labels = (np.load(checkout / f"{name}_node_{what}.npy") for what in ("features", "labels"))
        if (
            features.ndim != 2
            or not ((features == 1).sum(1) == 1).all()
            or (features != 0).sum() != len(features)
        ):
            raise DataFileError(
                f"{checkout}/{name}_node_features.npy: expected one 1 a row and zeros beside it."
            )
        if labels.shape != features.shape[:1]:
            raise DataFileError(
                f"{checkout}/{name}_node_labels.npy has the shape {labels.shape}, for {len(features)} atoms."
            )
        table = pd.read_csv(checkout / f"{name}.edge_info")
        if absent := sorted({"src", "dst", "r"} - set(table)):
            raise DataFileError(f"{checkout}/{name}.edge_info has no column {', '.join(absent)}.")
        species.append(features.argmax(1).astype(np.uint8))
        charges.append(labels.astype(np.float32))
        edges.append(table[["src", "dst"]].to_numpy(np.int32).T)
        lengths.append(table["r"].to_numpy(np.float32))
    partial = output.with_suffix(".partial")
    with h5py.File(partial, "w") as file:
        file["name"] = names
        file["node_species"], file["node_charge"] = np.concatenate(species), np.concatenate(charges)
        file["node_pointer"] = np.cumsum([0, *map(len, species)])
        file["edge_index"], file["edge_length"] = np.concatenate(edges, 1), np.concatenate(lengths)
        file["edge_pointer"] = np.cumsum([0, *map(len, lengths)])
    os.replace(partial, output)

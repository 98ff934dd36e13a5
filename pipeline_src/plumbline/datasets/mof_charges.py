"""Partial charges (DDEC) of metal-organic frameworks, published by Raza, Sturluson, Simon and Fern (2020).

The article is https://doi.org/10.26434/chemrxiv.12298487.v1. There are 2,266 frameworks of 10 to 584 atoms of
74 elements, 334,103 atoms in all. The charges of a framework sum to zero within 3.2e-5. The file
`mof_charges.h5` contains them in the format that `plumbline.datasets._graphs` describes. Without this file
they are read from a checkout of the source, `mpn_charges/MPNN/input` in the data folder.

The seed determines a random order of the frameworks, which is redrawn until the train split contains every
element.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np

from plumbline.datasets import DatasetSpec
from plumbline.datasets._download import DataFileError
from plumbline.input_files import InputFile, ReadsFiles

if TYPE_CHECKING:
    import xarray as xr

    from plumbline.datasets._graphs import PackedFrameworks

# Elements in the order of the published one-hot features.
ELEMENTS = (
    "C", "H", "O", "N", "Zn", "Cu", "Cd", "Co", "S", "P", "Mn", "Ni", "Nd", "La", "Cl", "F", "Ag",
    "Gd", "Er", "Dy", "Ce", "Fe", "Sm", "Pr", "Ca", "Na", "Mg", "Ba", "Mo", "U", "Y", "Ho", "Yb",
    "Sr", "Br", "K", "I", "In", "Al", "Li", "Tm", "V", "Si", "Cr", "W", "Ga", "B", "Ru", "Nb", "Lu",
    "Hg", "Pt", "Pb", "Re", "Th", "Rb", "Te", "Ti", "Au", "Sc", "Bi", "Sn", "Np", "Be", "Sb", "Rh",
    "As", "Cs", "Ge", "Pd", "Pu", "Se", "Hf", "Ir",
)  # fmt: skip
SOURCE = "https://github.com/SimonEnsemble/mpn_charges"


class MOFChargesSpec(ReadsFiles, DatasetSpec):
    """Partial charges of metal-organic frameworks, from `mof_charges.h5` or a checkout of its source."""

    kind: Literal["mof_charges"] = "mof_charges"
    data_dir: str = "data"
    """Folder with `mof_charges.h5`, or with a checkout of its source in `mpn_charges`."""

    def input_files(self) -> tuple[InputFile, ...]:
        path, checkout = self._places()
        what = f"the packed file, or {checkout} a checkout of {SOURCE}"
        taken = checkout if checkout.is_dir() and not path.is_file() else path
        return (InputFile("data_dir", str(taken), what),)

    def draw(self, indices: np.ndarray, splits: np.ndarray) -> xr.Dataset:
        from plumbline.datasets._graphs import padded

        packed = self._read()
        if self.splits.total > packed.count:
            raise ValueError(
                f"there are {packed.count} frameworks, and `splits` ask for {self.splits.total}: lower them."
            )
        chosen = self._order(packed)[indices]
        atoms, bonds = np.diff(packed.node_pointer).max(), np.diff(packed.edge_pointer).max()
        dataset = padded([packed.framework(i) for i in chosen], int(atoms), int(bonds), ELEMENTS)
        return dataset.assign_attrs(title="DDEC charges of metal-organic frameworks", source=SOURCE)

    def _places(self) -> tuple[Path, Path]:
        """Paths of the packed file and of the checkout."""
        folder = Path(self.data_dir)
        return folder / "mof_charges.h5", folder / "mpn_charges" / "MPNN" / "input"

    def _read(self) -> PackedFrameworks:
        """The frameworks of the packed file, or of the checkout if there is no packed file.

        Raises:
            DataFileError: neither exists, or it cannot be read.
        """
        from plumbline.datasets._graphs import read_packed

        path, checkout = self._places()
        if path.is_file():
            return read_packed(path, len(ELEMENTS))
        if not checkout.is_dir():
            raise DataFileError(
                f"neither {path} nor {checkout} exists: put the packed file there, or clone {SOURCE} into "
                f"{self.data_dir}, or set `dataset.data_dir`."
            )
        # The packed file is temporary, so the user's folder is not changed.
        with TemporaryDirectory() as folder:
            packed = Path(folder) / path.name
            pack(checkout, packed)
            try:
                return read_packed(packed, len(ELEMENTS))
            except DataFileError as error:
                raise DataFileError(str(error).replace(str(packed), str(checkout))) from error

    def _order(self, packed: PackedFrameworks) -> np.ndarray:
        """A permutation of the frameworks whose train split contains every element.

        Raises:
            ValueError: none was found in 10,000 attempts.
        """
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

    Args:
        checkout: folder with the files of the source.
        output: path of the packed file, which is replaced if it exists.

    Raises:
        DataFileError: there are no such files, or a file does not have the format of the source.
    """
    import os

    import h5py
    import pandas as pd

    names = sorted(
        path.name.removesuffix("_node_features.npy") for path in checkout.glob("*_node_features.npy")
    )
    if not names:
        raise DataFileError(f"{checkout} contains no frameworks (files `*_node_features.npy`).")
    species, charges, edges, lengths = [], [], [], []
    for name in names:
        features, labels = (np.load(checkout / f"{name}_node_{what}.npy") for what in ("features", "labels"))
        if (
            features.ndim != 2
            or not ((features == 1).sum(1) == 1).all()
            or (features != 0).sum() != len(features)
        ):
            raise DataFileError(
                f"{checkout}/{name}_node_features.npy: expected rows with a single 1 and zeros elsewhere."
            )
        if labels.shape != features.shape[:1]:
            raise DataFileError(
                f"{checkout}/{name}_node_labels.npy has shape {labels.shape}, but there are {len(features)} "
                "atoms."
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

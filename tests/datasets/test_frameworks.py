"""Frameworks in a packed file: each fault is refused on reading, with the name of the framework."""

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from plumbline.datasets._download import DataFileError
from plumbline.datasets._graphs import read_packed
from plumbline.datasets.mof_charges import MOFChargesSpec
from plumbline.datasets.stored import StoredSpec
from plumbline.models._spaces import batch_of
from plumbline.models.predictive._node_regression import ragged

SPLITS = {"train": 6, "validation": 2, "test": 2}


def ring(n, seed=0):
    random = np.random.default_rng(seed)
    charges = random.standard_normal(n)
    return {
        "species": random.integers(0, 3, n),
        "charges": charges - charges.mean(),
        "bonds": np.stack([np.arange(n), np.roll(np.arange(n), -1)]),
        "lengths": random.uniform(1, 2, n),
    }


def write(folder, frameworks, species=np.uint8, **other):
    columns = {
        "name": [f"mof{i}" for i in range(len(frameworks))],
        "node_species": np.concatenate([f["species"] for f in frameworks]).astype(species),
        "node_charge": np.concatenate([f["charges"] for f in frameworks]).astype(np.float32),
        "node_pointer": np.cumsum([0, *(len(f["charges"]) for f in frameworks)]),
        "edge_index": np.concatenate([f["bonds"] for f in frameworks], 1).astype(np.int32),
        "edge_length": np.concatenate([f["lengths"] for f in frameworks]).astype(np.float32),
        "edge_pointer": np.cumsum([0, *(len(f["lengths"]) for f in frameworks)]),
    }
    with h5py.File(folder / "mof_charges.h5", "w") as file:
        for name, values in (columns | other).items():
            if values is not None:
                file[name] = values
    return folder / "mof_charges.h5"


def frameworks():
    return [ring(5 + i % 3, i) for i in range(10)]


def drawn(folder):
    return MOFChargesSpec(data_dir=str(folder), parts=1, splits=SPLITS).draw_part(0)


def test_what_is_written_is_read(tmp_path):
    path = write(tmp_path, frameworks())
    packed = read_packed(path, 74)
    for i, one in enumerate(frameworks()):
        read = packed.framework(i)
        np.testing.assert_array_equal(read.species, one["species"])
        np.testing.assert_array_equal(read.bonds.T, one["bonds"])
        np.testing.assert_allclose(read.charges, one["charges"], rtol=1e-6)
    assert drawn(tmp_path)["bonds"].dtype == np.int16


def changed(**values):
    """The frameworks with changed values of `mof3`, which has five atoms."""
    several = frameworks()
    several[3] = several[3] | {name: np.asarray(value) for name, value in values.items()}
    return several


RING = np.stack([np.arange(5), np.roll(np.arange(5), -1)])


def with_bond(*ends):
    bonds = RING.copy()
    bonds[:, 2] = ends
    return {"bonds": bonds}


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (
            with_bond(2, 5),
            "bond 2, between atoms 2 and 5, has an end that is not an atom: there are 5 atoms, "
            "numbered from 0",
        ),
        (with_bond(2, -1), "bond 2, between atoms 2 and -1, has an end"),
        ({"bonds": RING + 1}, "bond 3, between atoms 4 and 5, has an end"),
        ({"bonds": RING + 50}, "bond 0, between atoms 50 and 51, has an end"),
        (with_bond(2, 2), "bond 2, between atoms 2 and 2, joins an atom to itself"),
        (with_bond(1, 0), "bond 2, between atoms 1 and 0, is listed before: list each bond once"),
        (with_bond(0, 1), "bond 2, between atoms 0 and 1, is listed before"),
        ({"species": [0, 1, 74, 1, 1]}, r"has the element 74 \(atom 2\), expected 0 to 73"),
        ({"species": [0, 1, 1, -1, 1]}, r"has the element -1 \(atom 3\)"),
        ({"charges": [0, 0, 0, 0, np.nan]}, r"has the charge nan \(atom 4\)"),
        ({"lengths": [1, 1, 0, 1, 1]}, "bond 2, between atoms 2 and 3, has the length 0.0"),
        ({"lengths": [1, np.inf, 1, 1, 1]}, "bond 1, between atoms 1 and 2, has the length inf"),
        ({"species": [], "charges": [], "bonds": np.zeros((2, 0)), "lengths": []}, "has no atoms"),
    ],
)
def test_faults_are_named_with_the_framework(tmp_path, values, found):
    write(tmp_path, changed(**values), species=np.int16)
    with pytest.raises(DataFileError, match=f"framework 'mof3':? {found}"):
        drawn(tmp_path)


def test_bonds_both_ways_are_refused(tmp_path):
    several = [
        f | {"bonds": np.concatenate([f["bonds"], f["bonds"][::-1]], 1), "lengths": np.tile(f["lengths"], 2)}
        for f in frameworks()
    ]
    write(tmp_path, several)
    with pytest.raises(
        DataFileError, match="framework 'mof0': bond 5, between atoms 1 and 0, is listed before"
    ):
        drawn(tmp_path)


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"edge_length": None, "name": None}, "has no array edge_length, name; it has"),
        (
            {"node_pointer": [0, 5, 11]},
            "`node_pointer` should hold 11 numbers from 0 to 59, but holds 3 from 0 to 11",
        ),
        ({"edge_pointer": np.arange(11)}, "`edge_pointer` should hold 11 numbers from 0 to 59"),
        ({"node_pointer": [0, 5, 4, *range(20, 26), 30, 59]}, "framework 'mof1' ends before it begins"),
        ({"edge_index": np.zeros((59, 2), int)}, "the shapes of the arrays do not match"),
        ({"edge_index": np.zeros((2, 59))}, "`edge_index` should hold integers, but holds float64"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, columns, found):
    write(tmp_path, frameworks(), **columns)
    with pytest.raises(DataFileError, match=f"mof_charges.h5:? {found}"):
        drawn(tmp_path)


def test_what_is_no_hdf5_file_is_named(tmp_path):
    (tmp_path / "mof_charges.h5").write_bytes(b"not hdf5")
    with pytest.raises(DataFileError, match=r"mof_charges\.h5 is not a readable HDF5 file"):
        drawn(tmp_path)


def test_large_frameworks_keep_their_numbers(tmp_path):
    several = frameworks()
    several[3] = ring(40_000)
    write(tmp_path, several)
    data = drawn(tmp_path)
    assert int(data["bonds"].max()) == 39_999
    assert int(data["bonds"].min()) == -1
    graphs = ragged(batch_of(data))
    # Every atom of a ring has two bonds.
    assert torch.bincount(graphs.bonds.flatten()).tolist() == [2] * int(data["present"].sum())


def padded(bonds, species):
    bonds = torch.tensor(bonds)
    return {"species": torch.tensor(species), "bonds": bonds, "bond_length": torch.ones(bonds.shape[:2])}


def test_a_bond_does_not_reach_into_the_next_framework():
    none = [-1, -1]
    reaching = padded([[[0, 1], [1, 2]], [[0, 1], none]], [[0, 0, -1], [1, 1, -1]])
    with pytest.raises(
        ValueError, match="a bond of framework 0 of the batch has an end that is not one of its atoms"
    ):
        ragged(reaching)
    half = padded([[[0, 1], none], [[0, 1], [1, -1]]], [[0, 0, -1], [1, 1, -1]])
    with pytest.raises(ValueError, match="a bond of framework 1 of the batch"):
        ragged(half)


def stored(folder, several):
    """Frameworks from a user's own store."""
    bonds = np.array([bonds for bonds, _ in several])
    xr.Dataset(
        {
            "state": (("sample", "atom"), np.arange(3.0 * len(several)).reshape(-1, 3)),
            "species": (("sample", "atom"), np.array([species for _, species in several])),
            "bonds": (("sample", "bond", "end"), bonds),
            "bond_length": (("sample", "bond"), np.ones(bonds.shape[:2])),
        },
        coords={"element": ["H", "C", "O"]},
    ).to_zarr(folder / "own.zarr", consolidated=False)
    splits = {"train": 1, "validation": 2, "test": 2}
    return StoredSpec(path=str(folder / "own.zarr"), parts=1, splits=splits).draw_part(0)


@pytest.mark.parametrize(
    ("bonds", "species", "found"),
    [
        ([[0, 1], [1, 0]], [0, 1, -1], "has a bond twice"),
        ([[0, 1], [2, 2]], [0, 1, 1], "has a bond that joins an atom to itself"),
        ([[0, 1], [1, 2]], [0, 1, -1], "has a bond with an end that is not one of its atoms"),
        ([[0, 1], [-1, 1]], [0, 1, -1], "has a bond with an end that is not one of its atoms"),
        ([[0, 1], [-1, -1]], [0, -1, 1], "has an atom without an element before others"),
        ([[-1, -1], [-1, -1]], [-1, -1, -1], "has no atoms"),
        ([[0, 1], [-1, -1]], [0, 3, -1], "has an element with an index above 2"),
    ],
)
def test_frameworks_of_a_users_store_are_checked_as_they_are_read(tmp_path, bonds, species, found):
    right = [[[0, 1], [1, 2]], [0, 1, 2]]
    (tmp_path / "right").mkdir()
    assert stored(tmp_path / "right", [right] * 5)["bonds"].shape == (5, 2, 2)
    # The last sample of the store, in the order of the dataset.
    row = np.random.default_rng(0).permutation(5).tolist().index(4)
    with pytest.raises(DataFileError, match=rf"own\.zarr: the framework of sample {row} {found}"):
        stored(tmp_path, [right] * 4 + [[bonds, species]])
